//! Draws a contact sheet: samples of each class as a network will see them.

use image::{GenericImage, Rgb, RgbImage, imageops};

use super::dataset::Dataset;
use super::format::{SAMPLE_BYTES, SIDE, Split};
use super::lettering::Lettering;
use super::picture::{add_mean, picture, residuals};

/// The side of the centre crop that a network is evaluated on (the paper's section 4.1).
const VIEW: u32 = 224;
const GAP: u32 = 12;
const CAPTION_WIDTH: u32 = 232;
/// The number of samples of each class.
const NUM_COLUMNS: u32 = 6;
/// The most classes that get a row; they are spread evenly over all.
const MAX_ROWS: usize = 16;
const WIDTH: u32 = GAP + CAPTION_WIDTH + NUM_COLUMNS * (VIEW + GAP);

const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([30, 30, 34]);
const PALE_INK: Rgb<u8> = Rgb([120, 120, 126]);

/// Heights of letters, in pixels.
const TITLE: u32 = 44;
const TEXT: u32 = 24;
/// From one line of text to the next.
const LINE: u32 = 27;

/// Draws the contact sheet of a dataset.
pub fn sheet(dataset: &Dataset) -> RgbImage {
    let rows = rows(dataset.info().classes.len());
    let head_height = GAP + TITLE + GAP + LINE + GAP + VIEW + LINE + GAP;
    let mut sheet = RgbImage::from_pixel(WIDTH, head_height + rows.len() as u32 * (VIEW + GAP), PAPER);
    draw_head(&mut sheet, dataset);
    let samples = samples_of(dataset, &rows);
    for (row, (label, samples)) in rows.iter().zip(samples).enumerate() {
        let top = head_height + row as u32 * (VIEW + GAP);
        draw_class(&mut sheet, dataset, *label, top);
        for &index in &samples {
            // If the operating system refuses, the pages are still read, one by one.
            let _ = dataset.split(Split::Train).advise(index..index + 1);
        }
        for (column, index) in samples.into_iter().enumerate() {
            let left = GAP + CAPTION_WIDTH + column as u32 * (VIEW + GAP);
            let sample = dataset.split(Split::Train).sample(index);
            draw_view(&mut sheet, &picture(&add_mean(sample.bytes, dataset.mean())), left, top);
        }
    }
    sheet
}

/// The labels that get a row.
fn rows(num_classes: usize) -> Vec<u32> {
    let num_rows = num_classes.min(MAX_ROWS);
    (0..num_rows).map(|row| (row * num_classes / num_rows) as u32).collect()
}

/// The first training samples of each label, by their indices.
fn samples_of(dataset: &Dataset, labels: &[u32]) -> Vec<Vec<usize>> {
    let train = dataset.split(Split::Train);
    let mut found = vec![Vec::new(); labels.len()];
    let mut num_missing = labels.len() * NUM_COLUMNS as usize;
    for index in 0..train.num_samples() {
        if num_missing == 0 {
            break;
        }
        let Ok(row) = labels.binary_search(&train.sample(index).label) else { continue };
        if found[row].len() < NUM_COLUMNS as usize {
            found[row].push(index);
            num_missing -= 1;
        }
    }
    found
}

fn draw_head(sheet: &mut RgbImage, dataset: &Dataset) {
    let info = dataset.info();
    let text = Lettering::new(TEXT, PALE_INK);
    Lettering::new(TITLE, INK).draw(sheet, &info.name, GAP, GAP);
    let counts = format!(
        "{} training and {} validation samples of {} classes; the centre {VIEW} x {VIEW} of {SIDE} x {SIDE} pixels",
        info.train.num_samples,
        info.val.num_samples,
        info.classes.len()
    );
    let below_title = 2 * GAP + TITLE;
    text.draw(sheet, &counts, GAP, below_title);
    let first = dataset.split(Split::Train).sample(0);
    let top = below_title + LINE + GAP;
    let tiles = [
        ("the mean image", picture(dataset.mean())),
        ("a sample", picture(&add_mean(first.bytes, dataset.mean()))),
        ("minus the mean", picture(&halved(&residuals(first.bytes, dataset.mean())))),
    ];
    for (column, (caption, tile)) in tiles.iter().enumerate() {
        let left = GAP + CAPTION_WIDTH + column as u32 * (VIEW + GAP);
        draw_view(sheet, tile, left, top);
        text.draw(sheet, caption, left, top + VIEW + 2);
    }
    let note = "A network is given each pixel minus the mean image: grey is zero, dark is below, bright is above.";
    let left = GAP + CAPTION_WIDTH + tiles.len() as u32 * (VIEW + GAP);
    for (line, words) in text.wrapped(note, WIDTH - left - GAP).iter().enumerate() {
        text.draw(sheet, words, left, top + line as u32 * LINE);
    }
}

/// Maps residuals of -255..=255 to pixels: zero becomes 128.
fn halved(residuals: &[i16]) -> Vec<u8> {
    let pixels: Vec<u8> = residuals.iter().map(|value| (128 + value / 2) as u8).collect();
    assert_eq!(pixels.len(), SAMPLE_BYTES, "values of a sample");
    pixels
}

fn draw_class(sheet: &mut RgbImage, dataset: &Dataset, label: u32, top: u32) {
    let class = &dataset.info().classes[label as usize];
    let (name, text) = (Lettering::new(TEXT, INK), Lettering::new(TEXT, PALE_INK));
    let mut y = top;
    for line in name.wrapped(&class.name, CAPTION_WIDTH - GAP).iter().take(4) {
        name.draw(sheet, line, GAP, y);
        y += LINE;
    }
    for line in [format!("label {label}"), format!("{} train", class.num_train), format!("{} val", class.num_val)] {
        text.draw(sheet, &line, GAP, y);
        y += LINE;
    }
}

fn draw_view(sheet: &mut RgbImage, picture: &RgbImage, left: u32, top: u32) {
    let margin = (SIDE as u32 - VIEW) / 2;
    let view = imageops::crop_imm(picture, margin, margin, VIEW, VIEW).to_image();
    sheet.copy_from(&view, left, top).expect("a tile inside the sheet");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_over_all_classes() {
        assert_eq!(rows(3), [0, 1, 2]);
        let many = rows(1000);
        assert_eq!((many.len(), many[0], many[15]), (16, 0, 937));
    }
}
