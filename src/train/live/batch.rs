//! The first images of the last batch as the network saw them, copied only when somebody looks.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use half::f16;
use image::{Rgb, RgbImage};

use crate::input::{Batch, Frame, Values};

/// How many images are shown.
pub(crate) const MAX_IMAGES: usize = 8;
/// Images in a row of the picture; `page.css` lays their captions out.
const NUM_COLUMNS: usize = 4;
const MID_GREY: f32 = 128.0;

/// A place where the trainer leaves a copy when it was asked for one, and does nothing otherwise.
#[derive(Debug)]
pub struct BatchCopy {
    frame: Frame,
    asked: AtomicBool,
    copied: Mutex<Option<Copied>>,
}

/// What the trainer left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Copied {
    /// The batch's step, counted from 0.
    pub step: u64,
    pub labels: Vec<u32>,
    /// (images, 3, canvas, canvas): zero is mid grey.
    pixels: Vec<u8>,
}

impl BatchCopy {
    /// For batches of this frame.
    pub fn new(frame: Frame) -> Self {
        Self { frame, asked: AtomicBool::new(false), copied: Mutex::new(None) }
    }

    /// The next batch that is offered will be copied.
    pub fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// The batch goes to the device: copies its first images if they were asked for.
    pub fn offer(&self, batch: &Batch) {
        if !self.asked.load(Relaxed) || !self.asked.swap(false, Relaxed) {
            return;
        }
        let num_images = batch.num_valid.min(MAX_IMAGES);
        let num_values = num_images * self.frame.num_values();
        let pixels = match &batch.values {
            Values::F32(values) => values[..num_values].iter().map(|&value| self.pixel(value)).collect(),
            Values::F16(values) => values[..num_values].iter().map(|&value| self.pixel(f16::to_f32(value))).collect(),
        };
        let copied = Copied { step: batch.step, labels: batch.labels[..num_images].to_vec(), pixels };
        *self.copied.lock().unwrap_or_else(PoisonError::into_inner) = Some(copied);
    }

    /// A pixel minus the mean is in -255..=255, and a little outside after colour jitter.
    fn pixel(&self, value: f32) -> u8 {
        // The cast saturates.
        (MID_GREY + 0.5 * value / self.frame.scale).round() as u8
    }

    /// What was left since the last call.
    pub(crate) fn take(&self) -> Option<Copied> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The images in rows of [`NUM_COLUMNS`], without gaps.
    pub(crate) fn picture(&self, copied: &Copied) -> RgbImage {
        let (side, num_images) = (self.frame.canvas, copied.labels.len());
        let num_rows = num_images.div_ceil(NUM_COLUMNS).max(1);
        let size = ((NUM_COLUMNS * side) as u32, (num_rows * side) as u32);
        let mut picture = RgbImage::from_pixel(size.0, size.1, Rgb([MID_GREY as u8; 3]));
        for (index, image) in copied.pixels.chunks_exact(self.frame.num_values()).enumerate() {
            let (left, top) = (index % NUM_COLUMNS * side, index / NUM_COLUMNS * side);
            for place in 0..side * side {
                let colour = Rgb([0, 1, 2].map(|channel| image[channel * side * side + place]));
                picture.put_pixel((left + place % side) as u32, (top + place / side) as u32, colour);
            }
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Dtype;

    const FRAME: Frame = Frame { crop: 3, canvas: 4, scale: 0.5 };

    /// Ten samples, each of its number times two in every value.
    fn batch(dtype: Dtype, step: u64) -> Batch {
        let mut batch = Batch::zeros(dtype, 10, FRAME.num_values());
        let value = |place: usize| (2 * (place / FRAME.num_values())) as f32 * FRAME.scale;
        match &mut batch.values {
            Values::F32(values) => values.iter_mut().enumerate().for_each(|(i, v)| *v = value(i)),
            Values::F16(values) => values.iter_mut().enumerate().for_each(|(i, v)| *v = f16::from_f32(value(i))),
        }
        batch.labels = (0..10).collect();
        Batch { step, num_valid: 10, ..batch }
    }

    #[test]
    fn a_batch_is_copied_once_for_each_time_it_was_asked_for() {
        let copy = BatchCopy::new(FRAME);
        copy.offer(&batch(Dtype::F32, 1));
        assert_eq!(copy.take(), None);
        copy.ask();
        copy.offer(&batch(Dtype::F32, 2));
        copy.offer(&batch(Dtype::F32, 3));
        assert_eq!(copy.take().map(|copied| (copied.step, copied.labels)), Some((2, (0..8).collect())));
        assert_eq!(copy.take(), None);
    }

    #[test]
    fn the_picture_has_each_image_in_its_place_and_zero_is_mid_grey() {
        for dtype in [Dtype::F32, Dtype::F16] {
            let copy = BatchCopy::new(FRAME);
            copy.ask();
            copy.offer(&batch(dtype, 0));
            let picture = copy.picture(&copy.take().unwrap());
            assert_eq!(picture.dimensions(), (16, 8));
            for (x, y, level) in [(0, 0, 128), (4, 0, 129), (15, 3, 131), (0, 4, 132), (15, 7, 135)] {
                assert_eq!(picture.get_pixel(x, y), &Rgb([level; 3]), "{dtype:?} at {x}, {y}");
            }
        }
    }

    #[test]
    fn values_outside_of_the_scale_are_black_and_white() {
        let copy = BatchCopy::new(FRAME);
        assert_eq!([-150.0, -127.5, 0.0, 127.5, 150.0].map(|value| copy.pixel(value)), [0, 1, 128, 255, 255]);
    }
}
