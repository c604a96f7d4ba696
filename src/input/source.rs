//! A source of batches: what a trainer asks, whether the batches are real or made up.

use std::sync::Arc;

use super::batch::Batch;
use super::stats::PipelineStats;
use crate::error::Result;

/// Lends batches in step order.
pub trait BatchSource {
    /// The next step's batch; waits for it. `None` after the last. After an error there are no more batches.
    fn recv(&mut self) -> Result<Option<Batch>>;
    /// Gives a batch back, in any order; its buffer is filled again.
    fn recycle(&mut self, batch: Batch);
    /// Counters that another thread may read.
    fn stats(&self) -> &Arc<PipelineStats>;
    /// Bytes of all batches: they are allocated once.
    fn memory_bytes(&self) -> u64;
}
