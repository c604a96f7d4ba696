//! Input alone: a consumer that gives each batch back at once.

use std::hint::black_box;

use super::options::Effort;
use super::resources::cpu_seconds;
use crate::error::{Error, Result};
use crate::input::{BatchSource, Dtype, PipelineOptions};
use crate::trace::Tracer;
use crate::train::experiment::Experiment;

#[derive(Clone, Copy, Debug)]
pub(super) struct InputRound {
    pub(super) images_per_second: f64,
    /// Of this process' processor time.
    pub(super) images_per_cpu_second: f64,
    pub(super) memory_bytes: u64,
}

/// The first round also reads each sample once, as long as that takes no longer than a stage: a sample is checked
/// against
/// its checksum when it is first read.
pub(super) fn round(
    experiment: &Experiment,
    workers: usize,
    dtype: Dtype,
    effort: Effort,
    round: usize,
) -> Result<InputRound> {
    let mut pipeline = experiment.source(PipelineOptions::new(dtype, workers, 0..u64::MAX), Tracer::default())?;
    let epoch = if round == 0 { experiment.plan()?.steps_per_epoch() as usize } else { 0 };
    effort.warm_up(epoch.max(2 * PipelineOptions::DEFAULT_BUFFERS), || pass_on(pipeline.as_mut()))?;
    let cpu_begun = cpu_seconds();
    let (num_batches, seconds) = effort.measure(|| pass_on(pipeline.as_mut()))?;
    let cpu = cpu_seconds() - cpu_begun;
    let num_images = (num_batches * experiment.settings().train.batch_size) as f64;
    Ok(InputRound {
        images_per_second: num_images / seconds,
        images_per_cpu_second: num_images / cpu,
        memory_bytes: pipeline.memory_bytes(),
    })
}

fn pass_on(pipeline: &mut dyn BatchSource) -> Result<()> {
    let batch = pipeline.recv()?.ok_or_else(|| Error::Input("it ended, and has no end".into()))?;
    pipeline.recycle(black_box(batch));
    Ok(())
}
