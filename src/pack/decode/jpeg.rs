//! JPEG, by the decoder that `image` uses, but strict: a damaged image is rejected instead of being filled with grey.

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{Colours, Geometry, Unreadable, check_size, wait_for_turn};

/// Stray bytes between headers, which libjpeg accepts too.
const HARMLESS: &str = "Extra bytes between headers";

/// Decodes into `pixels`, grey or interleaved RGB.
pub fn decode(bytes: &[u8], pixels: &mut Vec<u8>) -> Result<Geometry, Unreadable> {
    if !reaches_its_end(bytes) {
        return Err(Unreadable::new("truncated: the file ends before the JPEG's end marker"));
    }
    match decode_as(bytes, pixels, Strictness::Strict) {
        Err(error) if error.0.contains(HARMLESS) => decode_as(bytes, pixels, Strictness::Tolerant),
        other => other,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Strictness {
    Strict,
    Tolerant,
}

fn decode_as(bytes: &[u8], pixels: &mut Vec<u8>, strictness: Strictness) -> Result<Geometry, Unreadable> {
    let unreadable = |error: zune_jpeg::errors::DecodeErrors| {
        Unreadable(format!("damaged Jpeg: {}", error.to_string().trim_matches('"')))
    };
    let options = DecoderOptions::default()
        .set_strict_mode(strictness == Strictness::Strict)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(unreadable)?;
    let (width, height) = decoder.dimensions().expect("the headers are decoded");
    check_size(width as u64, height as u64)?;
    let _turn = wait_for_turn(width as u64 * height as u64);
    // CMYK and YCCK become RGB while they are decoded.
    let (colours, space) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (Colours::Grey, ColorSpace::Luma),
        _ => (Colours::Rgb, ColorSpace::RGB),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let orientation =
        decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)).unwrap_or(Orientation::NoTransforms);
    pixels.resize(width * height * colours.num_bytes(), 0);
    decoder.decode_into(pixels).map_err(unreadable)?;
    Ok(Geometry { width: width as u32, height: height as u32, colours, orientation })
}

const MARKER: u8 = 0xFF;
const END_OF_IMAGE: u8 = 0xD9;

/// Whether the end marker comes after all segments and scans. The decoder alone would not miss the last rows of a
/// file cut short, and a search from the end would find the end marker of a thumbnail inside the EXIF segment.
fn reaches_its_end(bytes: &[u8]) -> bool {
    // The first two bytes are the start marker.
    let mut position = 2;
    loop {
        let Some(found) = bytes.get(position..).and_then(|rest| memchr::memchr(MARKER, rest)) else { return false };
        position += found + 1;
        match bytes.get(position).copied() {
            None => return false,
            Some(END_OF_IMAGE) => return true,
            // A stuffed zero, a fill byte, or a marker without a length.
            Some(0x00 | 0x01 | MARKER | 0xD0..=0xD8) => {}
            Some(_) => {
                let Some(&[high, low]) = bytes.get(position + 1..position + 3) else { return false };
                // After a scan's header its entropy-coded bytes follow: the search above walks over them.
                position += 1 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_marker_inside_a_segment_is_not_the_end() {
        let thumbnail = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2, 0xFF, 0xDA, 0, 2, 5, 0xFF, 0, 7];
        assert!(!reaches_its_end(&thumbnail));
        assert!(reaches_its_end(&[&thumbnail[..], &[0xFF, 0xD9]].concat()));
        assert!(!reaches_its_end(&[0xFF, 0xD8]));
        assert!(!reaches_its_end(&[0xFF, 0xD8, 0xFF]));
        assert!(!reaches_its_end(&[0xFF, 0xD8, 0xFF, 0xE0, 0]));
    }
}
