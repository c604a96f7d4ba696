//! Resizes an image of any size to a sample: the centre square of the upright image at 256 x 256, planar.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;

use crate::shard::format::{CHANNELS, PLANE, SAMPLE_BYTES, SIDE};

/// A worker's resizer and its output buffer.
#[derive(Debug)]
pub struct Fitter {
    resizer: Resizer,
    square: Image<'static>,
}

impl Default for Fitter {
    fn default() -> Self {
        Self { resizer: Resizer::new(), square: Image::new(SIDE as u32, SIDE as u32, PixelType::U8x3) }
    }
}

impl Fitter {
    /// Resizes the shorter side to 256 and crops the centre 256 x 256, in one step: only the centre is computed. `rgb`
    /// is (height, width, 3); `planar` becomes (3, 256, 256).
    pub fn fit(&mut self, rgb: &[u8], width: u32, height: u32, orientation: Orientation, planar: &mut [u8]) {
        assert_eq!(planar.len(), SAMPLE_BYTES, "bytes of a sample");
        let source = ImageRef::new(width, height, rgb, PixelType::U8x3).expect("height x width RGB pixels");
        let side = f64::from(width.min(height));
        let (left, top) = ((f64::from(width) - side) / 2.0, (f64::from(height) - side) / 2.0);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
            .crop(left, top, side, side)
            .use_alpha(false);
        self.resizer.resize(&source, &mut self.square, &options).expect("a square inside the image");
        self.arrange(orientation, planar);
        self.forget_large_buffers();
    }

    /// Interleaved to planar, upright. Rotating the square is the same as rotating the whole image first, since the
    /// square is its exact centre, and it moves fewer bytes.
    fn arrange(&self, orientation: Orientation, planar: &mut [u8]) {
        let square = self.square.buffer();
        let (red, rest) = planar.split_at_mut(PLANE);
        let (green, blue) = rest.split_at_mut(PLANE);
        if orientation == Orientation::NoTransforms {
            let pixels = square.chunks_exact(CHANNELS);
            for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
                [*red, *green, *blue] = [pixel[0], pixel[1], pixel[2]];
            }
            return;
        }
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (from_x, from_y) = stored_place(orientation, x, y);
                let pixel = &square[(from_y * SIDE + from_x) * CHANNELS..][..CHANNELS];
                let to = y * SIDE + x;
                [red[to], green[to], blue[to]] = [pixel[0], pixel[1], pixel[2]];
            }
        }
    }

    fn forget_large_buffers(&mut self) {
        const LARGE_BYTES: usize = 64 << 20;
        if self.resizer.size_of_internal_buffers() > LARGE_BYTES {
            self.resizer.reset_internal_buffers();
        }
    }
}

/// The position in the stored square of the upright pixel (x, y).
fn stored_place(orientation: Orientation, x: usize, y: usize) -> (usize, usize) {
    let last = SIDE - 1;
    match orientation {
        Orientation::NoTransforms => (x, y),
        Orientation::FlipHorizontal => (last - x, y),
        Orientation::Rotate180 => (last - x, last - y),
        Orientation::FlipVertical => (x, last - y),
        Orientation::Rotate90FlipH => (y, x),
        Orientation::Rotate90 => (y, last - x),
        Orientation::Rotate270FlipH => (last - y, last - x),
        Orientation::Rotate270 => (last - y, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    #[test]
    fn the_centre_of_a_wide_image_is_kept() {
        // Left and right thirds black, the centre white.
        let wide = RgbImage::from_fn(900, 300, |x, _| image::Rgb([if (300..600).contains(&x) { 255 } else { 0 }; 3]));
        let mut planar = vec![0; SAMPLE_BYTES];
        Fitter::default().fit(&wide, 900, 300, Orientation::NoTransforms, &mut planar);
        let row = &planar[100 * SIDE..][..SIDE];
        assert!(row[4..252].iter().all(|&value| value == 255), "{row:?}");
    }
}
