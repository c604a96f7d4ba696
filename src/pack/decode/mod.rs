//! Turns one image file into one sample: recognised by content, decoded once, upright, 256 x 256, planar, with
//! transparent pixels on the mean colour.
//!
//! In: the bytes of a file. Out: (3, 256, 256) pixels, or the reason why there are none. A [`Decoder`] belongs to one
//! worker and owns its buffers.

mod fit;
mod guard;
mod jpeg;

use std::io::Cursor;
use std::sync::{Mutex, MutexGuard, PoisonError};

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits};

use self::fit::Fitter;

/// Images of more pixels are skipped: a file of a few kilobytes may claim gigabytes.
pub(crate) const MAX_PIXELS: u64 = 100_000_000;
/// Files of more bytes are skipped.
pub(crate) const MAX_FILE_BYTES: u64 = 512 << 20;
/// The most that decoding one image may allocate.
const MAX_ALLOC_BYTES: u64 = 1 << 30;
/// Larger images are decoded one at a time, so that memory does not grow with the number of workers.
const LARGE_PIXELS: u64 = 12_000_000;
/// Larger buffers are not kept for the next image.
const KEPT_BYTES: usize = 3 * LARGE_PIXELS as usize;

/// The background of transparent pixels: ImageNet's mean colour, so that they are near zero after the mean is
/// subtracted.
const BACKGROUND: [u8; 3] = [124, 117, 104];

/// The reason why an image cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable(pub String);

impl Unreadable {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// How the values of decoded pixels are laid out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Colours {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// All of red, then all of green, then all of blue.
    RgbPlanes,
}

impl Colours {
    pub(crate) fn num_bytes(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb | Self::RgbPlanes => 3,
            Self::Rgba => 4,
        }
    }
}

/// The shape of decoded pixels, as stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) colours: Colours,
    /// How the stored image is turned upright.
    pub(crate) orientation: Orientation,
}

/// Decodes images one after another.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The pixels as they are decoded.
    pixels: Vec<u8>,
    /// The pixels as RGB, if they are decoded as something else.
    rgb: Vec<u8>,
    fitter: Fitter,
}

impl Decoder {
    /// Decodes the bytes of an image file into `sample`, (3, 256, 256).
    pub fn decode(&mut self, file: &[u8], sample: &mut [u8]) -> Result<(), Unreadable> {
        let decoded = guard::catch_panic(|| {
            let geometry = self.decode_pixels(file)?;
            self.fit(geometry, sample);
            Ok(())
        })
        .unwrap_or_else(|panic| {
            *self = Self::default();
            Err(Unreadable(format!("the decoder failed over it: {panic}")))
        });
        for buffer in [&mut self.pixels, &mut self.rgb] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
        decoded
    }

    /// Turns raw pixels into a sample.
    pub(crate) fn arrange(&mut self, pixels: &[u8], geometry: Geometry, sample: &mut [u8]) {
        self.pixels.clear();
        self.pixels.extend_from_slice(pixels);
        self.fit(geometry, sample);
    }

    fn fit(&mut self, geometry: Geometry, sample: &mut [u8]) {
        let Geometry { width, height, colours, orientation } = geometry;
        let rgb = if colours == Colours::Rgb {
            &self.pixels
        } else {
            to_rgb(&self.pixels, colours, &mut self.rgb);
            &self.rgb
        };
        self.fitter.fit(rgb, width, height, orientation, sample);
    }

    fn decode_pixels(&mut self, file: &[u8]) -> Result<Geometry, Unreadable> {
        if file.is_empty() {
            return Err(Unreadable::new("the file is empty"));
        }
        match image::guess_format(file) {
            Ok(ImageFormat::Jpeg) => jpeg::decode(file, &mut self.pixels),
            Ok(format) if format.reading_enabled() => self.decode_other(file, format),
            Ok(format) => Err(Unreadable(format!("{format:?} images are not supported; convert it to PNG or JPEG"))),
            Err(_) => Err(Unreadable(format!("not an image: it begins with \"{}\"", beginning(file)))),
        }
    }

    fn decode_other(&mut self, file: &[u8], format: ImageFormat) -> Result<Geometry, Unreadable> {
        let unreadable = |error: ImageError| {
            let what = if matches!(error, ImageError::Unsupported(_)) { "unsupported" } else { "damaged" };
            Unreadable(format!("{what} {format:?}: {}", reason(&error)))
        };
        let mut reader = image::ImageReader::with_format(Cursor::new(file), format);
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_ALLOC_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(unreadable)?;
        let (width, height) = decoder.dimensions();
        check_size(width.into(), height.into())?;
        let orientation = orientation(&mut decoder);
        let _turn = wait_for_turn(u64::from(width) * u64::from(height));
        let colours = match decoder.color_type() {
            ColorType::L8 => Colours::Grey,
            ColorType::La8 => Colours::GreyAlpha,
            ColorType::Rgb8 => Colours::Rgb,
            ColorType::Rgba8 => Colours::Rgba,
            // 16 bits and floating point are too rare to be worth a buffer.
            other => {
                let image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
                let colours = if other.has_alpha() { Colours::Rgba } else { Colours::Rgb };
                self.pixels =
                    if other.has_alpha() { image.into_rgba8().into_raw() } else { image.into_rgb8().into_raw() };
                return Ok(Geometry { width, height, colours, orientation });
            }
        };
        self.pixels.resize(width as usize * height as usize * colours.num_bytes(), 0);
        decoder.read_image(&mut self.pixels).map_err(unreadable)?;
        Ok(Geometry { width, height, colours, orientation })
    }
}

/// Whether a file begins like an image that can be decoded.
pub(crate) fn is_image(file: &[u8]) -> bool {
    image::guess_format(file).is_ok_and(|format| format.reading_enabled())
}

/// Rejects sizes that no image of a dataset has.
fn check_size(width: u64, height: u64) -> Result<(), Unreadable> {
    if width == 0 || height == 0 {
        return Err(Unreadable(format!("an image of {width} x {height} pixels")));
    }
    if width * height > MAX_PIXELS {
        return Err(Unreadable(format!(
            "{width} x {height} pixels: more than {} million; scale it down",
            MAX_PIXELS / 1_000_000
        )));
    }
    Ok(())
}

fn wait_for_turn(num_pixels: u64) -> Option<MutexGuard<'static, ()>> {
    static LARGE: Mutex<()> = Mutex::new(());
    (num_pixels > LARGE_PIXELS).then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The orientation as stored if the EXIF data are broken.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // Many writers of WebP keep the prefix that EXIF data have in a JPEG, which `image` does not skip.
    let prefixed = decoder.exif_metadata().ok().flatten();
    let behind = prefixed.as_deref().and_then(|exif| exif.strip_prefix(b"Exif\0\0"));
    behind.and_then(Orientation::from_exif_chunk).unwrap_or(orientation)
}

/// Converts any layout to (height, width, 3).
fn to_rgb(pixels: &[u8], colours: Colours, rgb: &mut Vec<u8>) {
    rgb.clear();
    match colours {
        Colours::Rgb => rgb.extend_from_slice(pixels),
        Colours::Grey => rgb.extend(pixels.iter().flat_map(|&grey| [grey; 3])),
        Colours::GreyAlpha => {
            rgb.extend(pixels.chunks_exact(2).flat_map(|pixel| on_background([pixel[0]; 3], pixel[1])));
        }
        Colours::Rgba => {
            rgb.extend(
                pixels.chunks_exact(4).flat_map(|pixel| on_background([pixel[0], pixel[1], pixel[2]], pixel[3])),
            );
        }
        Colours::RgbPlanes => {
            let (red, rest) = pixels.split_at(pixels.len() / 3);
            let (green, blue) = rest.split_at(red.len());
            rgb.extend(red.iter().zip(green).zip(blue).flat_map(|((&red, &green), &blue)| [red, green, blue]));
        }
    }
}

/// Blends a pixel with [`BACKGROUND`], rounded.
fn on_background(colour: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    let mut shown = [0; 3];
    for ((shown, colour), background) in shown.iter_mut().zip(colour).zip(BACKGROUND) {
        *shown = ((u32::from(colour) * alpha + u32::from(background) * (255 - alpha) + 127) / 255) as u8;
    }
    shown
}

/// The first bytes of a file, readable enough to tell a web page from a text file.
fn beginning(file: &[u8]) -> String {
    file[..file.len().min(16)].escape_ascii().to_string()
}

/// An error's innermost cause, since `image` names the format again in each layer around it.
fn reason(error: &ImageError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // A damaged file may put anything into a decoder's message.
    cause.to_string().replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_pixels_show_the_background_and_opaque_ones_themselves() {
        assert_eq!(on_background([9, 200, 31], 255), [9, 200, 31]);
        assert_eq!(on_background([9, 200, 31], 0), BACKGROUND);
        assert_eq!(on_background([0, 0, 0], 128), [62, 58, 52]);
    }

    #[test]
    fn planes_become_pixels() {
        let mut rgb = Vec::new();
        to_rgb(&[1, 2, 3, 4, 5, 6], Colours::RgbPlanes, &mut rgb);
        assert_eq!(rgb, [1, 3, 5, 2, 4, 6]);
    }
}
