//! Draws a contact sheet: samples of each class as a network will see them.

use font8x8::legacy::BASIC_LEGACY;
use image::{GenericImage, Rgb, RgbImage, imageops};

use super::dataset::Dataset;
use super::format::{SAMPLE_BYTES, SIDE, Split};
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

/// The height and width of a character at scale 1.
const GLYPH: u32 = 8;
const TITLE: u32 = 4;
const TEXT: u32 = 2;
const LINE: u32 = GLYPH * TEXT + 8;

/// Draws the contact sheet of a dataset.
pub fn sheet(dataset: &Dataset) -> RgbImage {
    let rows = rows(dataset.info().classes.len());
    let head_height = GAP + GLYPH * TITLE + GAP + LINE + GAP + VIEW + LINE + GAP;
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
    draw_text(sheet, &info.name, GAP, GAP, TITLE, INK);
    let counts = format!(
        "{} training and {} validation samples of {} classes; the centre {VIEW} x {VIEW} of {SIDE} x {SIDE} pixels",
        info.train.num_samples,
        info.val.num_samples,
        info.classes.len()
    );
    let below_title = 2 * GAP + GLYPH * TITLE;
    draw_text(sheet, &counts, GAP, below_title, TEXT, PALE_INK);
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
        draw_text(sheet, caption, left, top + VIEW + 6, TEXT, PALE_INK);
    }
    let note = "A network is given each pixel minus the mean image: grey is zero, dark is below, bright is above.";
    let left = GAP + CAPTION_WIDTH + tiles.len() as u32 * (VIEW + GAP);
    for (line, words) in wrapped(note, WIDTH - left - GAP, TEXT).iter().enumerate() {
        draw_text(sheet, words, left, top + line as u32 * LINE, TEXT, PALE_INK);
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
    let mut y = top + 2;
    for line in wrapped(&class.name, CAPTION_WIDTH - GAP, TEXT).iter().take(4) {
        draw_text(sheet, line, GAP, y, TEXT, INK);
        y += LINE;
    }
    for line in [format!("label {label}"), format!("{} train", class.num_train), format!("{} val", class.num_val)] {
        draw_text(sheet, &line, GAP, y, TEXT, PALE_INK);
        y += LINE;
    }
}

fn draw_view(sheet: &mut RgbImage, picture: &RgbImage, left: u32, top: u32) {
    let margin = (SIDE as u32 - VIEW) / 2;
    let view = imageops::crop_imm(picture, margin, margin, VIEW, VIEW).to_image();
    sheet.copy_from(&view, left, top).expect("a tile inside the sheet");
}

/// Breaks a text into lines that fit `width`, at spaces if possible.
fn wrapped(text: &str, width: u32, scale: u32) -> Vec<String> {
    let fits = (width / (GLYPH * scale)) as usize;
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().collect();
        for piece in word.chunks(fits) {
            let piece: String = piece.iter().collect();
            let last = lines.last_mut().expect("at least one line");
            if last.is_empty() {
                *last = piece;
            } else if last.chars().count() + 1 + piece.chars().count() <= fits {
                *last = format!("{last} {piece}");
            } else {
                lines.push(piece);
            }
        }
    }
    lines
}

/// The font covers ASCII; other characters become question marks. What does not fit the sheet is cut off.
fn draw_text(sheet: &mut RgbImage, text: &str, left: u32, top: u32, scale: u32, ink: Rgb<u8>) {
    for (place, character) in text.chars().enumerate() {
        let glyph = BASIC_LEGACY.get(character as usize).unwrap_or(&BASIC_LEGACY['?' as usize]);
        for y in 0..GLYPH * scale {
            for x in 0..GLYPH * scale {
                let set = glyph[(y / scale) as usize] >> (x / scale) & 1 == 1;
                let at = (left + place as u32 * GLYPH * scale + x, top + y);
                if set && at.0 < sheet.width() && at.1 < sheet.height() {
                    sheet.put_pixel(at.0, at.1, ink);
                }
            }
        }
    }
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

    #[test]
    fn long_names_are_broken_and_nothing_of_them_is_lost() {
        let lines = wrapped("a Donaudampfschifffahrtsgesellschaft captain", 160, 2);
        assert!(lines.iter().all(|line| line.len() <= 10), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), "aDonaudampfschifffahrtsgesellschaftcaptain");
    }
}
