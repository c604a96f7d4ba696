//! What blocks are handed for a pass.

use crate::backend::cuda::driver::{Buffer, Slice, SliceMut, Stream};
use crate::backend::cuda::kernels::Kernels;

/// What all blocks share, one after another.
#[derive(Debug)]
pub struct Workspace<'a, R> {
    pub kernels: &'a Kernels<R>,
    /// Where everything is enqueued.
    pub stream: &'a Stream,
    /// Working memory of the libraries' products.
    pub products: &'a mut Buffer<u8>,
    /// Sums of parts of a bias gradient.
    pub bias_partials: &'a mut Buffer<f32>,
}

/// What a block's backward pass reads and writes, beside its weights.
#[derive(Debug)]
pub struct Activations<'a, R> {
    pub input: Slice<'a, R>,
    /// Of the block; the last one does not read it.
    pub output: Slice<'a, R>,
    /// Overwritten.
    pub output_gradient: SliceMut<'a, R>,
    /// None where nobody needs it.
    pub input_gradient: Option<SliceMut<'a, R>>,
}
