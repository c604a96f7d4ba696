//! Carries batches from their source to a backend's slots, and empty ones back.

use std::sync::Arc;

use super::live::batch::BatchCopy;
use crate::backend::{Backend, Slot};
use crate::clock::Clock;
use crate::error::Result;
use crate::input::{BatchSource, stats::PipelineSnapshot};
use crate::trace::{Interval, Tracer, Track};

/// Between a source and a backend.
pub struct Feeder {
    source: Box<dyn BatchSource>,
    clock: Clock,
    tracer: Tracer,
    /// Is shown every batch, if somebody may look.
    shown_to: Option<Arc<BatchCopy>>,
}

/// A batch that went to the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fed {
    /// The batch's step.
    pub step: u64,
    /// The batch's epoch.
    pub epoch: u32,
    /// Samples of the batch that count.
    pub num_valid: usize,
    /// How long the source made us wait.
    pub input_wait_seconds: f64,
    /// When the batch was handed to the backend.
    pub upload: Interval,
    /// Bytes of its values.
    pub num_bytes: u64,
}

impl Feeder {
    /// Of batches from `source`.
    pub fn new(source: Box<dyn BatchSource>) -> Self {
        Self { source, clock: Clock::Wall, tracer: Tracer::default(), shown_to: None }
    }

    /// As it is, and measures by `clock`: that of a source and a device whose time is not real.
    pub fn timed_by(self, clock: &Clock) -> Self {
        Self { clock: clock.clone(), ..self }
    }

    /// As it is, and tells `tracer` what it does.
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// As it is, and shows every batch to `copy`.
    pub fn showing(self, copy: Arc<BatchCopy>) -> Self {
        Self { shown_to: Some(copy), ..self }
    }

    /// Uploads the next batch to `slot`, after it took back the one that lies there; none after the last.
    pub fn feed(&mut self, backend: &mut dyn Backend, slot: Slot) -> Result<Option<Fed>> {
        let begun = self.clock.now();
        self.take_back(backend, slot)?;
        let asked = self.clock.now();
        let Some(batch) = self.source.recv()? else { return Ok(None) };
        let received = self.clock.now();
        if let Some(copy) = &self.shown_to {
            copy.offer(&batch);
        }
        let mut fed = Fed {
            step: batch.step,
            epoch: batch.epoch,
            num_valid: batch.num_valid,
            input_wait_seconds: (received - asked).as_secs_f64(),
            upload: Interval { begun: received, ended: received },
            num_bytes: batch.num_bytes() as u64,
        };
        backend.upload(slot, batch)?;
        fed.upload.ended = self.clock.now();
        self.tracer.span(Track::Trainer, "reclaim", fed.step, Interval { begun, ended: asked });
        self.tracer.span(Track::Trainer, "input wait", fed.step, Interval { begun: asked, ended: received });
        self.tracer.span(Track::Trainer, "upload", fed.step, fed.upload);
        Ok(Some(fed))
    }

    /// Gives the source the slot's batch back, if one lies there.
    fn take_back(&mut self, backend: &mut dyn Backend, slot: Slot) -> Result<()> {
        if let Some(batch) = backend.reclaim(slot)? {
            self.source.recycle(batch);
        }
        Ok(())
    }

    /// Gives the source the batches of both slots back.
    pub fn take_all_back(&mut self, backend: &mut dyn Backend) -> Result<()> {
        self.take_back(backend, Slot::Even)?;
        self.take_back(backend, Slot::Odd)
    }

    /// What the source has counted.
    pub fn snapshot(&self) -> PipelineSnapshot {
        self.source.stats().snapshot()
    }
}
