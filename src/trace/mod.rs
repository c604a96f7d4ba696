//! Traces what each part of a run does and when, as a timeline for Perfetto or `chrome://tracing`.
//!
//! In: [`Span`]s from any thread. Out: a file of Chrome's trace events, written by a dedicated thread during the run.
//! Spans wait in a buffer that is allocated once; those that do not fit are counted and left out.

mod event;
mod file;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub use self::file::{TraceFile, TraceSummary};

/// The most spans that wait to be written: those of about a hundred steps on an H100, in 2 MB.
const MAX_WAITING_SPANS: usize = 1 << 15;

/// The time that something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it began.
    pub begun: Instant,
    /// When it ended.
    pub ended: Instant,
}

impl Interval {
    /// The interval from `begun` to now.
    pub fn since(begun: Instant) -> Self {
        Self { begun, ended: Instant::now() }
    }

    /// The length in seconds.
    pub fn seconds(&self) -> f64 {
        (self.ended - self.begun).as_secs_f64()
    }
}

/// A row of the timeline: something that does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// The conveyor's planner, which waits for empty buffers.
    Conveyor,
    /// A thread of the input that crops, mirrors and colour-jitters.
    Worker(usize),
    /// The device's uploads.
    Upload,
    /// The device's training steps.
    Device,
    /// The thread of the training loop.
    Trainer,
}

/// A piece of work on the timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The row that it appears in.
    pub track: Track,
    /// The kind of work, such as `fill`, `upload` or `step`.
    pub name: &'static str,
    /// The training step that it belongs to.
    pub step: u64,
    /// When it was done.
    pub interval: Interval,
}

/// Records spans. Clones record into the same file; the default tracer is off and does nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Waiting>>);

#[derive(Debug)]
struct Waiting {
    spans: Mutex<Vec<Span>>,
    num_dropped: AtomicU64,
}

impl Tracer {
    fn on() -> Self {
        let spans = Mutex::new(Vec::with_capacity(MAX_WAITING_SPANS));
        Self(Some(Arc::new(Waiting { spans, num_dropped: AtomicU64::new(0) })))
    }

    /// Records a span, without waiting for the disk.
    pub fn span(&self, track: Track, name: &'static str, step: u64, interval: Interval) {
        let Some(waiting) = &self.0 else { return };
        let mut spans = waiting.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() < MAX_WAITING_SPANS {
            spans.push(Span { track, name, step, interval });
        } else {
            waiting.num_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
