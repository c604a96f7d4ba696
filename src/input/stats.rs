//! The counters of the pipeline, which any thread may read while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::trace::{Interval, Tracer, Track};

/// The counters, shared by the threads that count and those that read.
#[derive(Debug, Default)]
pub struct PipelineStats {
    augment_nanos: AtomicU64,
    input_wait_nanos: AtomicU64,
    buffer_wait_nanos: AtomicU64,
    num_images: AtomicU64,
    num_batches: AtomicU64,
    ready_batches: AtomicU64,
    empty_buffers: AtomicU64,
    num_failed_advice: AtomicU64,
    tracer: Tracer,
}

/// The values of the counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PipelineSnapshot {
    /// The time of all workers together: verifying, cropping, mirroring and colour jitter, and waiting for the disk
    /// meanwhile.
    pub augment_seconds: f64,
    /// The time that the trainer waited for a batch.
    pub input_wait_seconds: f64,
    /// The time that the planner waited for an empty buffer, because the trainer is slower than the input.
    pub buffer_wait_seconds: f64,
    /// The number of views written.
    pub num_images: u64,
    /// The number of batches filled.
    pub num_batches: u64,
    /// The number of batches that wait for the trainer.
    pub ready_batches: u64,
    /// The number of buffers that wait for a plan.
    pub empty_buffers: u64,
    /// The number of samples for which the operating system refused to read ahead; they are read later all the same.
    pub num_failed_advice: u64,
}

impl PipelineStats {
    /// Counters at zero, for a pipeline whose work `tracer` records.
    pub(crate) fn traced(tracer: Tracer) -> Self {
        Self { tracer, ..Self::default() }
    }

    /// Reads all counters.
    pub fn snapshot(&self) -> PipelineSnapshot {
        let seconds = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed)).as_secs_f64();
        PipelineSnapshot {
            augment_seconds: seconds(&self.augment_nanos),
            input_wait_seconds: seconds(&self.input_wait_nanos),
            buffer_wait_seconds: seconds(&self.buffer_wait_nanos),
            num_images: self.num_images.load(Relaxed),
            num_batches: self.num_batches.load(Relaxed),
            ready_batches: self.ready_batches.load(Relaxed),
            empty_buffers: self.empty_buffers.load(Relaxed),
            num_failed_advice: self.num_failed_advice.load(Relaxed),
        }
    }

    /// Counts the images of `step` that the calling worker has augmented since `begun`.
    pub(super) fn augmented(&self, step: u64, num_images: usize, begun: Instant) {
        let interval = Interval::since(begun);
        self.num_images.fetch_add(num_images as u64, Relaxed);
        self.augment_nanos.fetch_add((interval.ended - begun).as_nanos() as u64, Relaxed);
        self.tracer.span(Track::Worker(rayon::current_thread_index().unwrap_or(0)), "fill", step, interval);
    }

    /// Images that took no time.
    pub(crate) fn synthetic(&self, num_images: usize) {
        self.num_images.fetch_add(num_images as u64, Relaxed);
    }

    pub(super) fn trainer_waited(&self, time: Duration) {
        self.input_wait_nanos.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// Counts the planner's wait for the buffer of `step` since `begun`.
    pub(super) fn planner_waited(&self, step: u64, begun: Instant) {
        let interval = Interval::since(begun);
        self.buffer_wait_nanos.fetch_add((interval.ended - begun).as_nanos() as u64, Relaxed);
        self.tracer.span(Track::Conveyor, "buffer wait", step, interval);
    }

    // Counted before a batch enters a queue and after it has left, so that no depth falls below zero.

    pub(crate) fn batch_ready(&self) {
        self.num_batches.fetch_add(1, Relaxed);
        self.ready_batches.fetch_add(1, Relaxed);
    }

    pub(crate) fn batch_taken(&self) {
        self.ready_batches.fetch_sub(1, Relaxed);
    }

    pub(super) fn buffer_emptied(&self) {
        self.empty_buffers.fetch_add(1, Relaxed);
    }

    pub(super) fn buffer_taken(&self) {
        self.empty_buffers.fetch_sub(1, Relaxed);
    }

    pub(super) fn advice_failed(&self, num_samples: usize) {
        self.num_failed_advice.fetch_add(num_samples as u64, Relaxed);
    }
}
