//! Which classes are taken for which.

use std::collections::BTreeMap;
use std::fmt::Write;

use image::{Rgb, RgbImage};

use super::super::page::{Column, Width, count, note, percent, section, table};
use super::Evaluated;
use crate::page::html::{data_uri, escape, png};

/// With more classes than these, a matrix of numbers is too large to read.
const MAX_CLASSES: usize = 20;
/// The side of the picture of a larger matrix, in cells at most.
const MAX_CELLS: usize = 128;
/// Pixels of a cell's side.
const CELL: usize = 4;
const NUM_PAIRS: usize = 15;

/// Images of class `label` that were taken for class `found`.
type Counts = BTreeMap<(usize, usize), u64>;

pub(in super::super) fn confusion(evaluated: &Evaluated) -> String {
    let mut counts = Counts::new();
    for prediction in &evaluated.evaluation.predictions {
        *counts.entry((prediction.label, prediction.likely[0].class)).or_default() += 1;
    }
    let names = &evaluated.classes;
    let matrix = if names.len() <= MAX_CLASSES { matrix(&counts, names) } else { matrix_picture(&counts, names.len()) };
    section("Confusion", Width::Whole, &(matrix + &pairs(&counts, names)))
}

/// The most frequent mistakes.
fn pairs(counts: &Counts, names: &[String]) -> String {
    let num_of = |label: usize| counts.range((label, 0)..=(label, usize::MAX)).map(|(_, num)| num).sum::<u64>();
    let mut wrong: Vec<_> = counts.iter().filter(|((label, found), _)| label != found).collect();
    wrong.sort_by_key(|&(pair, num)| (std::cmp::Reverse(*num), *pair));
    let row = |(&(label, found), &num): (&(usize, usize), &u64)| {
        let share = percent(num as f64 / num_of(label) as f64);
        vec![escape(&names[label]), escape(&names[found]), count(num), share]
    };
    let rows: Vec<_> = wrong.into_iter().take(NUM_PAIRS).map(row).collect();
    if rows.is_empty() {
        return note("No image was taken for another class.");
    }
    let columns =
        [Column::Text("class"), Column::Text("taken for"), Column::Number("images"), Column::Number("of the class")];
    table("The most frequent mistakes", &columns, &rows)
}

/// Rows are the true classes, columns what their images were taken for.
fn matrix(counts: &Counts, names: &[String]) -> String {
    let mut html = note(
        "Each row is a class; its cells count what the network takes its images for. The darker, the larger the share \
         of the row; green frames are right answers.",
    );
    html += "<div class=\"scroll\"><table class=\"matrix\">\n<caption>True class by row, predicted class by column\
             </caption>\n<thead><tr><td></td>";
    for name in names {
        let _ = write!(html, "<th scope=\"col\"><span>{}</span></th>", escape(name));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (label, name) in names.iter().enumerate() {
        let num_of: u64 = counts.range((label, 0)..=(label, usize::MAX)).map(|(_, num)| num).sum();
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(name));
        for found in 0..names.len() {
            let num = counts.get(&(label, found)).copied().unwrap_or(0);
            let class = match (num, found == label) {
                (_, true) => "right",
                (0, false) => "none",
                (_, false) => "",
            };
            // Half of the colour at most, so that the numbers stay readable in light and dark.
            let shade = if num > 0 { 5 + 45 * num / num_of } else { 0 };
            let _ = write!(
                html,
                "<td class=\"{class}\" style=\"background:color-mix(in srgb, var(--series-0) {shade}%, transparent)\">\
                 {num}</td>"
            );
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table></div>\n"
}

/// A matrix of many classes as a picture, whose cells are of neighbouring classes together.
fn matrix_picture(counts: &Counts, num_classes: usize) -> String {
    let classes_of_cell = num_classes.div_ceil(MAX_CELLS);
    let side = num_classes.div_ceil(classes_of_cell);
    let mut cells = vec![0_u64; side * side];
    for (&(label, found), num) in counts {
        cells[label / classes_of_cell * side + found / classes_of_cell] += num;
    }
    let rows: Vec<u64> = cells.chunks_exact(side).map(|row| row.iter().sum()).collect();
    let picture = RgbImage::from_fn((side * CELL) as u32, (side * CELL) as u32, |x, y| {
        let (column, row) = (x as usize / CELL, y as usize / CELL);
        let share = cells[row * side + column] as f64 / rows[row].max(1) as f64;
        ink(share)
    });
    let uri = data_uri("image/png", &png(&picture));
    let grouped = match classes_of_cell {
        1 => "Each row of the picture is a class".to_owned(),
        num => format!("Each row of the picture is {num} neighbouring classes together"),
    };
    let text = format!(
        "{grouped}, in the order of the labels, and each column what their images are taken for. The darker, the \
         larger the share of the row (its square root); right answers lie on the diagonal."
    );
    format!(
        "{}<p><img class=\"pixels confusion\" src=\"{uri}\" width=\"{}\" height=\"{}\" alt=\"Confusion matrix of \
         {num_classes} classes; the table below has its largest cells off the diagonal\"></p>\n",
        note(&text),
        side * CELL,
        side * CELL
    )
}

/// From white to dark blue by the root of a share, so that the rare shows too.
fn ink(share: f64) -> Rgb<u8> {
    let depth = share.sqrt();
    let level = |dark: f64| (255.0 - (255.0 - dark) * depth).round() as u8;
    Rgb([level(14.0), level(44.0), level(92.0)])
}
