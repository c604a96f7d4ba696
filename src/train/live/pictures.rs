//! The pictures of the live page: drawn on the server's thread, and only while somebody looks.

use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::batch::BatchCopy;
use crate::page::html::png;
use crate::page::kernels::kernels;

/// The time between two pictures of batches: long enough to look at one.
const BATCH_EVERY: Duration = Duration::from_secs(5);
/// Pixels of a weight.
const KERNEL_SCALE: u32 = 4;

/// The first layer's weights after a step.
#[derive(Debug, PartialEq)]
pub(crate) struct Kernels {
    pub step: u64,
    /// (O, 3, H, W).
    pub weights: Vec<f32>,
    pub shape: Vec<usize>,
}

/// The pictures that were drawn last.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    pub kernels: Option<Picture>,
    pub batch: Option<Picture>,
    /// The classes of the batch's images.
    pub labels: Vec<u32>,
    asked: Option<Instant>,
}

/// A PNG file.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// What it shows: a step of the run.
    pub step: u64,
    pub png: Bytes,
    pub size: (u32, u32),
}

impl Picture {
    fn new(step: u64, picture: &image::RgbImage) -> Self {
        Self { step, png: Bytes::from(png(picture)), size: picture.dimensions() }
    }
}

impl Pictures {
    /// Draws what is new, and asks for another batch now and then.
    pub fn refresh(&mut self, weights: Option<&Kernels>, batch: &BatchCopy) {
        if let Some(Kernels { step, weights, shape }) = weights
            && self.kernels.as_ref().is_none_or(|drawn| drawn.step != *step)
        {
            self.kernels = Some(Picture::new(*step, &kernels(weights, shape, KERNEL_SCALE)));
        }
        if let Some(copied) = batch.take() {
            self.batch = Some(Picture::new(copied.step, &batch.picture(&copied)));
            self.labels = copied.labels;
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= BATCH_EVERY) {
            batch.ask();
            self.asked = Some(Instant::now());
        }
    }
}
