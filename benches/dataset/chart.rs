//! The curves of a record as SVG pictures: speed on the left, memory or opening on the right.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentValue};
use plotters::prelude::*;

use crate::growth::USUAL;
use crate::point::DEVICE_IMAGES_PER_SECOND;
use crate::tables::{self, Cell};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (1100, 400);
const BLUE: RGBColor = RGBColor(0x4e, 0x79, 0xa7);
const ORANGE: RGBColor = RGBColor(0xf2, 0x8e, 0x2b);
const GREEN: RGBColor = RGBColor(0x59, 0xa1, 0x4f);
const PURPLE: RGBColor = RGBColor(0xb0, 0x7a, 0xa1);
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// A column of the record, or numbers that were computed.
struct Curve {
    name: String,
    colour: RGBColor,
    /// One for each number on the axis.
    cells: Vec<Option<Cell>>,
}

/// Half of a picture. The places on the axis are evenly apart, whatever their numbers are.
struct Panel<'a> {
    across: &'a str,
    places: Vec<usize>,
    up: &'a str,
    curves: Vec<Curve>,
}

pub fn draw_all(record: &str, folder: &Path) {
    for (grows, across, file) in [
        ("workers", "worker threads, on 2 virtual cores", "growth-workers.svg"),
        ("batch size", "samples of a batch", "growth-batch-size.svg"),
        ("samples", "samples of the dataset", "growth-samples.svg"),
    ] {
        let path = folder.join(file);
        let root = SVGBackend::new(&path, SIZE).into_drawing_area();
        root.fill(&WHITE).expect("a picture");
        let (left, right) = root.split_horizontally(SIZE.0 * 11 / 20);
        draw(&left, &speed(record, grows, across));
        draw(&right, &memory(record, grows, across));
        root.present().expect("a file for the picture");
        println!("{}", path.display());
    }
}

fn speed<'a>(record: &str, grows: &str, across: &'a str) -> Panel<'a> {
    let curve = |name: &str, colour, column| Curve { name: name.into(), colour, cells: cells(record, grows, column) };
    let device = format!("training around a device of {DEVICE_IMAGES_PER_SECOND} images/s");
    let curves = vec![
        curve("a second of processor time", BLUE, tables::AGAIN_CPU),
        curve("the same, each sample's first reading", PURPLE, tables::FIRST_CPU),
        curve("a second by the clock", ORANGE, tables::AGAIN),
        curve(&device, GREEN, tables::END_TO_END),
    ];
    Panel { across, places: places(record, grows), up: "images per second", curves }
}

fn memory<'a>(record: &str, grows: &str, across: &'a str) -> Panel<'a> {
    let places = places(record, grows);
    let measured = Curve {
        name: "anonymous memory of the process".into(),
        colour: BLUE,
        cells: cells(record, grows, tables::ANONYMOUS),
    };
    let batch_size = |place| if grows == "batch size" { place } else { USUAL.batch_size };
    let buffers = places.iter().map(|&place| {
        let megabytes = buffer_bytes(batch_size(place)) as f64 * 1e-6;
        Some(Cell { median: megabytes, lowest: megabytes, highest: megabytes })
    });
    let computed = Curve { name: "computed: its six batches".into(), colour: GREY, cells: buffers.collect() };
    Panel { across, places, up: "MB", curves: vec![computed, measured] }
}

/// Values in f16 and labels of all batches that exist.
fn buffer_bytes(batch_size: usize) -> usize {
    use alexnet::input::PipelineOptions;
    use alexnet::recipe::settings::AugmentSettings;
    use alexnet::shard::CHANNELS;
    let canvas = AugmentSettings::default().canvas;
    PipelineOptions::DEFAULT_BUFFERS * batch_size * (CHANNELS * canvas * canvas * 2 + 4)
}

fn cells(record: &str, grows: &str, column: &str) -> Vec<Option<Cell>> {
    tables::column(record, grows, column).into_iter().map(|(_, cell)| cell).collect()
}

fn places(record: &str, grows: &str) -> Vec<usize> {
    tables::column(record, grows, tables::AGAIN).into_iter().map(|(place, _)| place).collect()
}

fn draw(area: &Area<'_>, panel: &Panel<'_>) {
    let highest = panel.curves.iter().flat_map(|curve| curve.cells.iter().flatten()).map(|cell| cell.highest);
    let top = 1.45 * highest.fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d((0..panel.places.len() - 1).into_segmented(), 0.0..top)
        .expect("room for a chart");
    let place_name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(index) => panel.places.get(*index).map_or(String::new(), |&place| grouped(place)),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(0xe4, 0xe4, 0xe4))
        .x_desc(panel.across)
        .y_desc(panel.up)
        .x_label_formatter(&place_name)
        .y_label_formatter(&|value| grouped(*value as usize))
        .label_style(("sans-serif", 14))
        .draw()
        .expect("axes");
    for curve in &panel.curves {
        let (colour, centre) = (curve.colour, SegmentValue::CenterOf);
        let measured: Vec<(usize, Cell)> =
            curve.cells.iter().enumerate().filter_map(|(index, cell)| cell.map(|cell| (index, cell))).collect();
        let line = measured.iter().map(|&(index, cell)| (centre(index), cell.median));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))
            .expect("a line")
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        let spread = measured.iter().map(|&(index, cell)| {
            PathElement::new([(centre(index), cell.lowest), (centre(index), cell.highest)], colour.stroke_width(1))
        });
        chart.draw_series(spread).expect("the spread");
        let dots = measured.iter().map(|&(index, cell)| Circle::new((centre(index), cell.median), 4, colour.filled()));
        chart.draw_series(dots).expect("the medians");
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 14))
        .draw()
        .expect("a legend");
}

/// 1,281,167.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let thousands = tail.as_bytes().chunks(3).map(|three| String::from_utf8_lossy(three).into_owned());
    let groups: Vec<String> = (!head.is_empty()).then(|| head.to_string()).into_iter().chain(thousands).collect();
    groups.join(",")
}
