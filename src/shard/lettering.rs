//! Text in pictures: Noto Sans, of which the binary has the Latin, Greek and Cyrillic part (assets/fonts/).

use ab_glyph::{Font, FontRef, Glyph, ScaleFont, point};
use image::{Rgb, RgbImage};

const FONT: &[u8] = include_bytes!("../../assets/fonts/NotoSans-Latin-Greek-Cyrillic.ttf");

/// Draws text of one size. A character that the font lacks becomes its replacement glyph, an empty box.
#[derive(Clone, Debug)]
pub(super) struct Lettering {
    font: FontRef<'static>,
    /// From the highest to the lowest letter, in pixels.
    height: f32,
    ink: Rgb<u8>,
}

impl Lettering {
    pub fn new(height: u32, ink: Rgb<u8>) -> Self {
        let font = FontRef::try_from_slice(FONT).expect("the font in the binary is whole");
        Self { font, height: height as f32, ink }
    }

    /// The text's glyphs on a line whose upper left corner is (0, 0), and where the next would begin.
    fn glyphs(&self, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font.as_scaled(self.height);
        let mut caret = 0.0;
        let glyph = |character| {
            let id = font.glyph_id(character);
            let glyph = id.with_scale_and_position(self.height, point(caret, font.ascent()));
            caret += font.h_advance(id);
            glyph
        };
        let glyphs = text.chars().map(glyph).collect();
        (glyphs, caret)
    }

    fn width(&self, text: &str) -> f32 {
        self.glyphs(text).1
    }

    /// Draws the text with its upper left corner there. What does not fit the picture is cut off.
    pub fn draw(&self, picture: &mut RgbImage, text: &str, left: u32, top: u32) {
        let outlines = self.glyphs(text).0.into_iter().filter_map(|glyph| self.font.outline_glyph(glyph));
        for outline in outlines {
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, coverage| {
                let (x, y) = (corner.x + x as f32 + left as f32, corner.y + y as f32 + top as f32);
                if x < 0.0 || y < 0.0 {
                    return;
                }
                let Some(pixel) = picture.get_pixel_mut_checked(x as u32, y as u32) else { return };
                let coverage = coverage.clamp(0.0, 1.0);
                let mixed =
                    |paper: u8, ink: u8| (f32::from(paper) * (1.0 - coverage) + f32::from(ink) * coverage).round();
                for (paper, ink) in pixel.0.iter_mut().zip(self.ink.0) {
                    *paper = mixed(*paper, ink) as u8;
                }
            });
        }
    }

    /// Breaks a text into lines that fit `width`, at spaces if possible.
    pub fn wrapped(&self, text: &str, width: u32) -> Vec<String> {
        let fits = |line: &str| self.width(line) <= width as f32;
        let mut lines = vec![String::new()];
        for word in text.split_whitespace() {
            let last = lines.last_mut().expect("at least one line");
            let joined = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
            if fits(&joined) {
                *last = joined;
                continue;
            }
            if !last.is_empty() {
                lines.push(String::new());
            }
            // A word that is too long for a line of its own is broken where the line ends.
            for character in word.chars() {
                let last = lines.last_mut().expect("at least one line");
                let longer = format!("{last}{character}");
                if last.is_empty() || fits(&longer) {
                    *last = longer;
                } else {
                    lines.push(character.into());
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INK: Rgb<u8> = Rgb([10, 20, 30]);
    const PAPER: Rgb<u8> = Rgb([255; 3]);

    fn drawn(text: &str) -> RgbImage {
        let mut picture = RgbImage::from_pixel(60, 30, PAPER);
        Lettering::new(24, INK).draw(&mut picture, text, 2, 2);
        picture
    }

    #[test]
    fn long_names_are_broken_and_nothing_of_them_is_lost() {
        let (lettering, width) = (Lettering::new(24, INK), 120);
        let lines = lettering.wrapped("a Donaudampfschifffahrtsgesellschaft captain", width);
        assert!(lines.len() > 3 && lines.iter().all(|line| lettering.width(line) <= width as f32), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), "aDonaudampfschifffahrtsgesellschaftcaptain");
        assert_eq!((&lines[0][..], lettering.wrapped("", width)), ("a", vec![String::new()]));
    }

    #[test]
    fn letters_of_three_alphabets_differ_and_what_the_font_lacks_is_one_box() {
        let letters = ["A", "é", "ß", "λ", "Ж", "№"].map(drawn);
        for (index, letter) in letters.iter().enumerate() {
            assert!(letter.pixels().any(|pixel| *pixel != PAPER), "letter {index} is drawn");
            assert!(letters[..index].iter().all(|other| other != letter), "letter {index} is its own");
        }
        let lacking = ["猫", "犬", "ネ"].map(drawn);
        assert!(lacking[0] == lacking[1] && lacking[1] == lacking[2] && lacking[0] != drawn(" "));
        assert!(letters.iter().all(|letter| *letter != lacking[0]));
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut picture = RgbImage::from_pixel(20, 20, PAPER);
        Lettering::new(40, INK).draw(&mut picture, "Wide words", 10, 0);
        assert!(picture.pixels().any(|pixel| *pixel != PAPER));
    }
}
