//! The trace: what each part of a run did, and when, as a timeline for Perfetto or `chrome://tracing`.
//!
//! In: [`Span`]s from any thread. Out: a file of Chrome's trace events, written by a thread of its own while the run goes.
//! Spans wait in a buffer that is allocated once; what does not fit is counted and left out.

mod event;
pub mod file;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub use self::file::{TraceFile, TraceSummary};

/// Spans that wait to be written, at most: a hundred steps of an H100's, and 2 MB.
const MAX_WAITING_SPANS: usize = 1 << 15;

/// From when to when something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its first moment.
    pub begun: Instant,
    /// Its last.
    pub ended: Instant,
}

impl Interval {
    /// From `begun` to now.
    pub fn since(begun: Instant) -> Self {
        Self { begun, ended: Instant::now() }
    }

    /// How long it took.
    pub fn seconds(&self) -> f64 {
        (self.ended - self.begun).as_secs_f64()
    }
}

/// Who did something. Each has a line of its own, and does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// The conveyor's planner, which waits for empty buffers.
    Conveyor,
    /// A thread that crops, mirrors and relights.
    Worker(usize),
    /// The device's way in.
    Upload,
    /// What computes.
    Device,
    /// The thread of the loop.
    Trainer,
}

/// Something that was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Who did it.
    pub track: Track,
    /// What: `fill`, `upload`, `step`, ...
    pub name: &'static str,
    /// The training step that it was done for.
    pub step: u64,
    /// When.
    pub interval: Interval,
}

/// Takes spans in. Clones write to the same file; the default one is off and does nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Waiting>>);

/// The spans that are not written yet.
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

    /// Records what was done; never waits for the disk.
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
