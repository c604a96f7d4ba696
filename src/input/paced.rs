//! Input of a chosen speed: the real conveyor with work that only waits. Shows what overlaps with what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batch::{Batch, Dtype};
use super::conveyor::{Reads, Work};
use super::pipeline::{Pipeline, PipelineOptions};
use super::stats::PipelineStats;
use crate::clock::Clock;
use crate::error::Result;

/// Batches of one value a sample, without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacedOptions {
    /// Samples of a batch.
    pub batch_size: usize,
    /// Until a batch is filled; one is filled at a time.
    pub fill: Duration,
}

struct PacedWork {
    fill: Duration,
    /// When the last batch was due. The next one counts from there and not from when its thread was woken, so that late
    /// wakings do not add up.
    due: Mutex<Instant>,
}

impl PacedOptions {
    /// A pipeline that takes the time it was given.
    pub fn start(self) -> Result<Pipeline> {
        let work = PacedWork { fill: self.fill, due: Mutex::new(Instant::now()) };
        let options = PipelineOptions::new(Dtype::F16, 1, 0..u64::MAX);
        let buffer = Batch::zeros(Dtype::F16, self.batch_size, 1);
        let reads = Reads { steps: 0..0, ahead: None };
        Pipeline::start_with(Arc::new(work), buffer, options, reads, Arc::new(PipelineStats::default()))
    }
}

impl Work for PacedWork {
    fn fill(&self, step: u64, batch: &mut Batch) -> Result<()> {
        let asked = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = asked.max(*due) + self.fill;
        Clock::Wall.wait_until(*due);
        (batch.step, batch.num_valid) = (step, batch.num_samples());
        Ok(())
    }

    fn advise(&self, _step: u64) {}
}
