//! What the pipeline says of itself while it runs: counters that anyone may read at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::trace::{Interval, Tracer, Track};

/// The counters, shared by everyone who counts and everyone who reads.
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

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PipelineSnapshot {
    /// Summed over the workers: checking, cropping, mirroring and relighting, and waiting for the disk in between.
    pub augment_seconds: f64,
    /// The trainer waited for a batch.
    pub input_wait_seconds: f64,
    /// The planner waited for an empty buffer: the trainer is slower than the input.
    pub buffer_wait_seconds: f64,
    /// Views written.
    pub num_images: u64,
    /// Batches filled.
    pub num_batches: u64,
    /// Batches that wait for the trainer.
    pub ready_batches: u64,
    /// Buffers that wait for a plan.
    pub empty_buffers: u64,
    /// Samples for which the kernel refused the advice to read ahead: they are read all the same, later.
    pub num_failed_advice: u64,
}

impl PipelineStats {
    /// Counters at zero, of a pipeline that also tells `tracer` what it does.
    pub fn traced(tracer: Tracer) -> Self {
        Self { tracer, ..Self::default() }
    }

    /// The counters now.
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

    /// One of the workers' threads says that it augmented images of `step` since `begun`.
    pub(super) fn augmented(&self, step: u64, num_images: usize, begun: Instant) {
        let interval = Interval::since(begun);
        self.num_images.fetch_add(num_images as u64, Relaxed);
        self.augment_nanos.fetch_add((interval.ended - begun).as_nanos() as u64, Relaxed);
        self.tracer.span(Track::Worker(rayon::current_thread_index().unwrap_or(0)), "fill", step, interval);
    }

    /// Images that took no time.
    pub(super) fn made_up(&self, num_images: usize) {
        self.num_images.fetch_add(num_images as u64, Relaxed);
    }

    pub(super) fn trainer_waited(&self, time: Duration) {
        self.input_wait_nanos.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// For the buffer of `step`, since `begun`.
    pub(super) fn planner_waited(&self, step: u64, begun: Instant) {
        let interval = Interval::since(begun);
        self.buffer_wait_nanos.fetch_add((interval.ended - begun).as_nanos() as u64, Relaxed);
        self.tracer.span(Track::Conveyor, "buffer wait", step, interval);
    }

    // Counted before a batch enters a queue and after it left, so that no depth falls below zero.

    pub(super) fn batch_ready(&self) {
        self.num_batches.fetch_add(1, Relaxed);
        self.ready_batches.fetch_add(1, Relaxed);
    }

    pub(super) fn batch_taken(&self) {
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
