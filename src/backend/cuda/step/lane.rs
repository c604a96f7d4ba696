//! What work is enqueued with.

use crate::backend::cuda::driver::{Buffer, Stream};
use crate::backend::cuda::kernels::Kernels;

/// A stream and what the work on it shares, one piece after another.
#[derive(Debug)]
pub struct Lane<'a, R> {
    pub kernels: &'a Kernels<R>,
    pub stream: &'a Stream,
    /// Working memory of the libraries' products.
    pub products: &'a mut Buffer<u8>,
}
