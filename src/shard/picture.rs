//! Turns a sample back into a picture, bit-identical to what was packed.

use image::{Rgb, RgbImage};

use super::format::{PLANE, SAMPLE_BYTES, SIDE};

/// The pixels of a sample, (3, 256, 256): the byte is (pixel - mean) modulo 256, so the pixel is (byte + mean) modulo
/// 256.
pub fn add_mean(bytes: &[u8], mean: &[u8]) -> Vec<u8> {
    assert_eq!((bytes.len(), mean.len()), (SAMPLE_BYTES, SAMPLE_BYTES), "bytes of a sample and of a mean image");
    bytes.iter().zip(mean).map(|(byte, mean)| byte.wrapping_add(*mean)).collect()
}

/// The values that a network sees, (3, 256, 256): pixel - mean, -255..=255.
pub(super) fn residuals(bytes: &[u8], mean: &[u8]) -> Vec<i16> {
    let pixels = add_mean(bytes, mean);
    pixels.iter().zip(mean).map(|(&pixel, &mean)| i16::from(pixel) - i16::from(mean)).collect()
}

/// Planar pixels, (3, 256, 256), as a picture.
pub fn picture(pixels: &[u8]) -> RgbImage {
    assert_eq!(pixels.len(), SAMPLE_BYTES, "bytes of a sample");
    RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
        let at = y as usize * SIDE + x as usize;
        Rgb([pixels[at], pixels[PLANE + at], pixels[2 * PLANE + at]])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_pixel_comes_back_from_its_residual(pixel: u8, mean: u8) {
            let bytes = vec![pixel.wrapping_sub(mean); SAMPLE_BYTES];
            let means = vec![mean; SAMPLE_BYTES];
            prop_assert_eq!(add_mean(&bytes, &means)[0], pixel);
            prop_assert_eq!(residuals(&bytes, &means)[0], i16::from(pixel) - i16::from(mean));
        }
    }
}
