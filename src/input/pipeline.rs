//! The pipeline fills batches from shards ahead of the trainer, in a fixed set of buffers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Instant;

use async_channel::{Receiver, Sender, bounded};

use super::augment::Augmenter;
use super::batch::{Batch, Dtype};
use super::conveyor::{self, Belt, Reads, Work};
use super::filler::Filler;
use super::plan::Plan;
use super::reread::Kept;
use super::source::BatchSource;
use super::stats::PipelineStats;
use super::view::Augmentation;
use super::workers::AugmentWorkers;
use crate::error::{Error, Result};
use crate::shard::{Dataset, Split};
use crate::trace::Tracer;

/// The resources of a pipeline and the steps that it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineOptions {
    /// The type of values that the backend takes.
    pub dtype: Dtype,
    /// The number of threads that augment.
    pub workers: usize,
    /// The number of batches that circulate, at least one: those being filled, waiting, and lent to the trainer. They
    /// bound the pipeline's memory and its look-ahead.
    pub buffers: usize,
    /// How many steps ahead of the one being filled the operating system is asked to read; in the order of blocks, one
    /// window more. With 0 it is asked only for the step itself.
    pub prefetch_steps: u64,
    /// The steps to run; a resumed run does not begin at 0.
    pub steps: Range<u64>,
}

impl PipelineOptions {
    /// Two that are being filled, two that wait, and two that the trainer holds while the device reads them.
    pub const DEFAULT_BUFFERS: usize = 6;
    /// With 128 samples of 192 KiB per step, 100 MB are being read.
    pub const DEFAULT_PREFETCH_STEPS: u64 = 4;

    /// Options with the default number of buffers and look-ahead.
    pub fn new(dtype: Dtype, workers: usize, steps: Range<u64>) -> Self {
        let (buffers, prefetch_steps) = (Self::DEFAULT_BUFFERS, Self::DEFAULT_PREFETCH_STEPS);
        Self { dtype, workers, buffers, prefetch_steps, steps }
    }
}

/// Lends batches to one trainer. Dropping it stops and joins its threads.
#[derive(Debug)]
pub struct Pipeline {
    /// The steps that the trainer has not received yet.
    steps: Range<u64>,
    num_buffers: usize,
    num_lent: usize,
    memory_bytes: u64,
    empty: Sender<Batch>,
    ready: Receiver<Result<Batch>>,
    stats: Arc<PipelineStats>,
    /// Runs the conveyor; `None` only while it is dropped.
    conveyor: Option<JoinHandle<()>>,
}

impl Pipeline {
    /// Allocates the buffers and starts to fill them; `tracer` records the threads' work.
    pub fn start(
        dataset: Arc<Dataset>,
        split: Split,
        plan: Plan,
        augmentation: Augmentation,
        options: PipelineOptions,
        tracer: Tracer,
    ) -> Result<Self> {
        let num_samples = dataset.split(split).num_samples();
        assert!(plan.num_samples() <= num_samples, "a plan of {} of {num_samples} samples", plan.num_samples());
        if options.workers == 0 {
            return Err(Error::usage("0 workers: at least one is needed to fill the batches"));
        }
        let stats = Arc::new(PipelineStats::traced(tracer));
        let buffer = Batch::zeros(options.dtype, plan.batch_size(), augmentation.frame().num_values());
        let steps = options.steps.start..plan.num_steps().map_or(options.steps.end, |num| options.steps.end.min(num));
        let workers = AugmentWorkers::start(options.workers)?;
        let augmenter = Augmenter::fastest();
        let reads = Reads::new(&plan, &steps, options.prefetch_steps);
        let filler = Filler {
            dataset,
            split,
            plan,
            augmentation,
            augmenter,
            workers,
            stats: Arc::clone(&stats),
            next_read: AtomicU64::new(0),
            kept: Kept::default(),
        };
        Self::start_with(Arc::new(filler), buffer, PipelineOptions { steps, ..options }, reads, stats)
    }

    pub(super) fn start_with(
        work: Arc<impl Work>,
        buffer: Batch,
        options: PipelineOptions,
        reads: Reads,
        stats: Arc<PipelineStats>,
    ) -> Result<Self> {
        let PipelineOptions { buffers: num_buffers, steps, .. } = options;
        if num_buffers == 0 {
            return Err(Error::usage("0 buffers: at least one is needed to hold a batch"));
        }
        let memory_bytes = (num_buffers * (buffer.num_bytes() + size_of_val(buffer.labels.as_slice()))) as u64;
        let (empty, empty_out) = bounded(num_buffers);
        let (ready, ready_out) = bounded(num_buffers);
        for _ in 0..num_buffers {
            stats.buffer_emptied();
            empty.try_send(buffer.clone()).expect("a queue with room for every buffer");
        }
        let belt =
            Belt { steps: steps.clone(), num_buffers, reads, empty: empty_out, ready, stats: Arc::clone(&stats) };
        let no_thread = |error| Error::Input(format!("cannot start its thread: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(no_thread)?;
        // When the runtime ends it waits for its blocking threads; the last of them drops `work`, which joins its
        // workers.
        let carry = move || runtime.block_on(conveyor::carry_batches(belt, work));
        let conveyor = std::thread::Builder::new().name("input".into()).spawn(carry).map_err(no_thread)?;
        Ok(Self {
            steps,
            num_buffers,
            num_lent: 0,
            memory_bytes,
            empty,
            ready: ready_out,
            stats,
            conveyor: Some(conveyor),
        })
    }
}

impl BatchSource for Pipeline {
    fn recv(&mut self) -> Result<Option<Batch>> {
        if self.steps.is_empty() {
            return Ok(None);
        }
        // If all were lent, none could be filled and this would wait forever.
        assert!(self.num_lent < self.num_buffers, "{} of {} batches are lent", self.num_lent, self.num_buffers);
        let begun = Instant::now();
        let received = self.ready.recv_blocking();
        self.stats.trainer_waited(begun.elapsed());
        let stopped = || Error::Input(format!("it stopped before step {}", self.steps.start));
        let batch = received.map_err(|_| stopped())??;
        assert_eq!(batch.step, self.steps.start, "the step of the next batch");
        self.stats.batch_taken();
        self.steps.start += 1;
        self.num_lent += 1;
        Ok(Some(batch))
    }

    fn recycle(&mut self, batch: Batch) {
        assert!(self.num_lent > 0, "a batch of step {} that was not lent", batch.step);
        self.num_lent -= 1;
        self.stats.buffer_emptied();
        // Fails after the last step was planned, when the buffer is not needed again.
        let _ = self.empty.try_send(batch);
    }

    fn stats(&self) -> &Arc<PipelineStats> {
        &self.stats
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.empty.close();
        self.ready.close();
        if let Some(conveyor) = self.conveyor.take() {
            // After a panic there, `recv` has reported that the channel ended.
            let _ = conveyor.join();
        }
    }
}

impl Work for Filler {
    fn fill(&self, step: u64, batch: &mut Batch) -> Result<()> {
        self.fill(step, batch)
    }

    fn advise(&self, step: u64) {
        self.advise(step);
    }
}

#[cfg(test)]
mod tests;
