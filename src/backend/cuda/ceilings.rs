//! What the card can do at most, measured on it: the ceilings that a step's times are compared with.

use std::sync::Arc;

use half::bf16;
use serde::{Deserialize, Serialize};

use super::driver::{Buffer, Context, Pinned, Watch};
use super::libraries::precision::Precision;
use super::libraries::product::{CublasLt, DenseShape, Kind, Product};
use super::libraries::tuning::Tuning;
use crate::error::Result;
use crate::philox::{Purpose, uniform, words};

/// How large and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingExtent {
    /// Bytes of each copy.
    pub copy_bytes: usize,
    /// Rows and columns of all three matrices.
    pub product_side: usize,
    /// Copies or products in a row.
    pub repeats: usize,
}

/// The fastest that the card copied, took uploads and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Read and written by a copy within the device's memory, bytes a second.
    pub memory: f64,
    /// From page-locked memory of the host to the device, bytes a second.
    pub upload: f64,
    /// Of a large bf16 product of noise, floating-point operations a second.
    pub arithmetic: f64,
}

/// Of the noise in matrices, which comes again and again: zeros would cost less power than numbers do.
const NOISE_VALUES: usize = 1 << 16;

impl Ceilings {
    /// Measures; the libraries have been opened, and nothing else is under way.
    pub fn measure(context: &Arc<Context>, extent: &CeilingExtent) -> Result<Self> {
        let watch = Watch::new(context, extent.repeats)?;
        Ok(Self {
            memory: memory(context, &watch, extent.copy_bytes)?,
            upload: upload(context, &watch, extent.copy_bytes)?,
            arithmetic: arithmetic(context, &watch, extent.product_side)?,
        })
    }
}

fn memory(context: &Arc<Context>, watch: &Watch, num_bytes: usize) -> Result<f64> {
    let from = Buffer::<u8>::zeros(context, "a copy's source", num_bytes)?;
    let mut to = Buffer::<u8>::zeros(context, "a copy's target", num_bytes)?;
    let seconds = watch.shortest(|stream| {
        // SAFETY: the watch waits for the copy before the buffers go.
        unsafe { stream.copy_on_device(from.all(), &mut to.all_mut()) }
    })?;
    Ok(2.0 * num_bytes as f64 / seconds)
}

fn upload(context: &Arc<Context>, watch: &Watch, num_bytes: usize) -> Result<f64> {
    let from = Pinned::<u8>::zeros(context, num_bytes)?;
    let mut to = Buffer::<u8>::zeros(context, "an upload's target", num_bytes)?;
    let seconds = watch.shortest(|stream| {
        // SAFETY: nobody writes to it.
        let from = unsafe { from.as_slice() };
        // SAFETY: pinned; the watch waits for the copy before either goes.
        unsafe { stream.copy_to_device(from, &mut to.all_mut()) }
    })?;
    Ok(num_bytes as f64 / seconds)
}

fn arithmetic(context: &Arc<Context>, watch: &Watch, side: usize) -> Result<f64> {
    let library = CublasLt::new()?;
    let shape = DenseShape { num_samples: side, inputs: side, outputs: side };
    let mut tuning = Tuning::known();
    let product = Product::new(context, &library, Kind::InputGradient, shape, Precision::Bf16, None, &mut tuning)?;
    let mut workspace = Buffer::<u8>::zeros(context, "the product's working memory", product.workspace_bytes().max(1))?;
    let matrix = || Buffer::<bf16>::zeros(context, "a matrix", side * side);
    let (mut left, mut right, mut output) = (matrix()?, matrix()?, matrix()?);
    fill_with_noise(&mut left)?;
    fill_with_noise(&mut right)?;
    let seconds =
        watch.shortest(|stream| product.run(stream, &mut workspace, left.all(), right.all(), &mut output.all_mut()))?;
    Ok(2.0 * (side as f64).powi(3) / seconds)
}

fn fill_with_noise(matrix: &mut Buffer<bf16>) -> Result<()> {
    let quads = (0..NOISE_VALUES.div_ceil(4) as u32).flat_map(|quad| words(0, Purpose::Synthetic, [quad, 0, 0]));
    let noise: Vec<bf16> = quads.map(|word| bf16::from_f32(uniform(word) - 0.5)).collect();
    for start in (0..matrix.len()).step_by(noise.len()) {
        let end = matrix.len().min(start + noise.len());
        matrix.part_mut(start..end).write(&noise[..end - start])?;
    }
    Ok(())
}
