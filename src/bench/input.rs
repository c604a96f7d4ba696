//! Input alone: a consumer that gives each batch back at once.

use std::hint::black_box;

use super::options::Effort;
use super::resources::cpu_seconds;
use super::subject::Subject;
use crate::error::{Error, Result};
use crate::input::{BatchSource, Dtype, Pipeline, PipelineOptions};

#[derive(Clone, Copy, Debug)]
pub(super) struct InputRound {
    pub(super) images_per_second: f64,
    /// Of this process' processor time.
    pub(super) images_per_cpu_second: f64,
    pub(super) memory_bytes: u64,
}

/// The first round also reads each sample once, as long as that takes no longer than a stage: a sample is held against its
/// checksum when it is first read.
pub(super) fn round(
    subject: &Subject,
    workers: usize,
    dtype: Dtype,
    effort: Effort,
    round: usize,
) -> Result<InputRound> {
    let mut pipeline = subject.pipeline(PipelineOptions::new(dtype, workers, 0..u64::MAX))?;
    let epoch = if round == 0 { subject.plan.steps_per_epoch() as usize } else { 0 };
    effort.warm_up(epoch.max(2 * PipelineOptions::DEFAULT_BUFFERS), || pass_on(&mut pipeline))?;
    let cpu_begun = cpu_seconds();
    let (num_batches, seconds) = effort.measure(|| pass_on(&mut pipeline))?;
    let cpu = cpu_seconds() - cpu_begun;
    let num_images = (num_batches * subject.batch_size()) as f64;
    Ok(InputRound {
        images_per_second: num_images / seconds,
        images_per_cpu_second: num_images / cpu,
        memory_bytes: pipeline.memory_bytes(),
    })
}

fn pass_on(pipeline: &mut Pipeline) -> Result<()> {
    let batch = pipeline.recv()?.ok_or_else(|| Error::Input("it ended, and has no end".into()))?;
    pipeline.recycle(black_box(batch));
    Ok(())
}
