//! What a trainer needs of a source of batches, real or synthetic.

use std::sync::Arc;

use super::batch::Batch;
use super::stats::PipelineStats;
use crate::error::Result;

/// Lends batches in step order.
pub trait BatchSource {
    /// Waits for the next step's batch; `None` after the last. After an error there are no more batches.
    fn recv(&mut self) -> Result<Option<Batch>>;
    /// Returns a batch, in any order, so that its buffer is filled again.
    fn recycle(&mut self, batch: Batch);
    /// The counters, which another thread may read.
    fn stats(&self) -> &Arc<PipelineStats>;
    /// The size of all batches in bytes; they are allocated once.
    fn memory_bytes(&self) -> u64;
}
