//! The device alone: training steps on two synthetic batches that stay where they are.

use std::time::Instant;

use super::options::Effort;
use super::slots::{reclaim_both, upload_both};
use crate::backend::{Backend, Pass, Slot, StepScalars};
use crate::error::Result;
use crate::input::Batch;

/// Steps before those that count: a backend may record the first on each slot.
const WARM_UP_STEPS: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct DeviceRound {
    pub(super) images_per_second: f64,
    /// From the end of one to that of the next.
    pub(super) step_seconds: Vec<f64>,
}

/// As the trainer does, a step's statistics are read when the next one has been launched. The learning rate is 0, so
/// that each round does the same work.
pub(super) fn round(backend: &mut dyn Backend, batches: &mut Vec<Batch>, effort: Effort) -> Result<DeviceRound> {
    let num_images = batches[0].num_valid as f64;
    upload_both(backend, batches)?;
    let (mut step, mut step_seconds) = (0, Vec::new());
    let mut next = |step_seconds: &mut Vec<f64>, last_ended: &mut Instant| {
        let scalars = StepScalars { step, learning_rate: 0.0 };
        backend.run(Slot::of_step(step), Pass::Train, scalars)?;
        if let Some(before) = step.checked_sub(1) {
            backend.statistics(Slot::of_step(before))?;
        }
        step += 1;
        let now = Instant::now();
        step_seconds.push((now - std::mem::replace(last_ended, now)).as_secs_f64());
        Ok(())
    };
    let mut last_ended = Instant::now();
    effort.warm_up(WARM_UP_STEPS, || next(&mut step_seconds, &mut last_ended))?;
    step_seconds.clear();
    let (num_steps, seconds) = effort.measure(|| next(&mut step_seconds, &mut last_ended))?;
    backend.statistics(Slot::of_step(step - 1))?;
    reclaim_both(backend, batches)?;
    Ok(DeviceRound { images_per_second: num_steps as f64 * num_images / seconds, step_seconds })
}
