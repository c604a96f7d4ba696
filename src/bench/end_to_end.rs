//! End to end: training, by the trainer's own step, without validations and checkpoints.

use super::options::Effort;
use crate::backend::Backend;
use crate::error::Result;
use crate::input::PipelineOptions;
use crate::trace::Tracer;
use crate::train::experiment::Experiment;
use crate::train::feeder::Feeder;
use crate::train::stepper::{Next, Stepper};

/// Steps before those that count: the buffers that were full at the beginning must be used up.
const WARM_UP_STEPS: usize = 2 * PipelineOptions::DEFAULT_BUFFERS;

#[derive(Clone, Copy, Debug)]
pub(super) struct EndToEndRound {
    pub(super) images_per_second: f64,
    /// The share of the time in which the trainer waited for a batch.
    pub(super) input_wait_ratio: f64,
    pub(super) memory_bytes: u64,
}

/// The learning rate is 0, so that each round does the same work.
pub(super) fn round(
    backend: Box<dyn Backend>,
    experiment: &Experiment,
    workers: usize,
    effort: Effort,
) -> Result<(Box<dyn Backend>, EndToEndRound)> {
    let pipeline =
        experiment.source(PipelineOptions::new(backend.input_dtype(), workers, 0..u64::MAX), Tracer::default())?;
    let memory_bytes = pipeline.memory_bytes();
    let mut stepper = Stepper::new(backend, Feeder::new(pipeline), Tracer::default());
    let mut step = 0;
    let mut next = |stepper: &mut Stepper| {
        let settled = stepper.step(step, Next::Feed, 0.0)?;
        step += 1;
        Ok(settled)
    };
    effort.warm_up(WARM_UP_STEPS, || next(&mut stepper).map(drop))?;
    let mut input_wait_seconds = 0.0;
    let (num_steps, seconds) = effort.measure(|| {
        let settled = next(&mut stepper)?.expect("the warm-up launched a step");
        input_wait_seconds += settled.observation.input_wait_seconds;
        Ok(())
    })?;
    stepper.settle()?;
    let num_images = (num_steps * experiment.settings().train.batch_size) as f64;
    let round = EndToEndRound {
        images_per_second: num_images / seconds,
        input_wait_ratio: input_wait_seconds / seconds,
        memory_bytes,
    };
    Ok((stepper.into_backend()?, round))
}
