//! Carries batches from their source to a backend's slots, and empty ones back.

use std::time::Instant;

use crate::backend::{Backend, Slot};
use crate::error::Result;
use crate::input::{BatchSource, stats::PipelineSnapshot};

/// Between a source and a backend.
pub struct Feeder {
    source: Box<dyn BatchSource>,
}

/// A batch that went to the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fed {
    /// The plan's step.
    pub step: u64,
    /// The plan's epoch.
    pub epoch: u32,
    /// Samples that count.
    pub num_valid: usize,
    /// How long the source made us wait.
    pub input_wait_seconds: f64,
    /// How long handing it over took.
    pub upload_seconds: f64,
    /// Bytes of its values.
    pub num_bytes: u64,
}

impl Feeder {
    /// Of batches from `source`.
    pub fn new(source: Box<dyn BatchSource>) -> Self {
        Self { source }
    }

    /// Uploads the next batch to `slot`, after it took back the one that lies there; none after the last.
    pub fn feed<B: Backend>(&mut self, backend: &mut B, slot: Slot) -> Result<Option<Fed>> {
        self.take_back(backend, slot)?;
        let begun = Instant::now();
        let Some(batch) = self.source.recv()? else { return Ok(None) };
        let received = Instant::now();
        let mut fed = Fed {
            step: batch.step,
            epoch: batch.epoch,
            num_valid: batch.num_valid,
            input_wait_seconds: (received - begun).as_secs_f64(),
            upload_seconds: 0.0,
            num_bytes: batch.num_bytes() as u64,
        };
        backend.upload(slot, batch)?;
        fed.upload_seconds = received.elapsed().as_secs_f64();
        Ok(Some(fed))
    }

    /// Gives the source the slot's batch back, if one lies there.
    fn take_back<B: Backend>(&mut self, backend: &mut B, slot: Slot) -> Result<()> {
        if let Some(batch) = backend.reclaim(slot)? {
            self.source.recycle(batch);
        }
        Ok(())
    }

    /// Gives the source the batches of both slots back.
    pub fn take_all_back<B: Backend>(&mut self, backend: &mut B) -> Result<()> {
        self.take_back(backend, Slot::Even)?;
        self.take_back(backend, Slot::Odd)
    }

    /// What the source has counted.
    pub fn snapshot(&self) -> PipelineSnapshot {
        self.source.stats().snapshot()
    }
}
