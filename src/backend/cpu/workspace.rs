//! What the blocks share: threads, working memory, and the views that they are given.

use std::num::NonZeroUsize;

use super::workers::Workers;

/// Threads, and memory that no block needs from one call to the next.
pub struct Workspace<T> {
    pub workers: Workers<T>,
    /// A factor of the running product, packed once for all tasks.
    pub packed: Vec<T>,
    /// Where tasks leave results that are not contiguous in their destination.
    pub staged: Vec<T>,
}

/// Values that a block needs of the working memory.
#[derive(Clone, Copy)]
pub struct Room {
    /// Of each thread's scratch memory.
    pub scratch: usize,
    pub packed: usize,
    pub staged: usize,
}

impl Room {
    /// Enough for either.
    pub fn max(self, other: Self) -> Self {
        Self {
            scratch: self.scratch.max(other.scratch),
            packed: self.packed.max(other.packed),
            staged: self.staged.max(other.staged),
        }
    }
}

impl<T: Copy + Send> Workspace<T> {
    /// On `num_threads` threads, by default one a core; all memory holds `fill`.
    pub fn new(num_threads: Option<NonZeroUsize>, room: Room, fill: T) -> Self {
        let Room { scratch, packed, staged } = room;
        let workers = Workers::new(num_threads, scratch, fill);
        Self { workers, packed: vec![fill; packed], staged: vec![fill; staged] }
    }
}

/// A layer's tensors, or their gradients, in one of the flat buffers.
pub struct Tensors<V> {
    pub weights: V,
    pub biases: V,
}

/// What a block's backward pass reads and writes of the batch.
pub struct Activations<'a, T> {
    /// (N, input values).
    pub input: &'a [T],
    /// (N, output values).
    pub output: &'a [T],
    /// (N, output values); overwritten.
    pub output_gradient: &'a mut [T],
    /// Where the gradient of the input goes; the first block has none.
    pub input_gradient: Option<&'a mut [T]>,
}
