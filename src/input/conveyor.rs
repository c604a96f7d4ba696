//! The conveyor: asynchronous tasks that carry buffers from the plan through the workers to the trainer.
//!
//! planner (takes an empty buffer for each step, in step order) -> fillers (several batches at a time) -> order
//! restored -> trainer. A task that finds its channel closed ends, so dropping either end stops everything. The tasks
//! only wait: the workers compute, and Tokio's blocking threads wait for the workers.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_channel::{Receiver, Sender, bounded};
use tokio::task::spawn_blocking;

use super::batch::Batch;
use super::plan::Plan;
use super::stats::PipelineStats;
use crate::error::{Error, Result, panic_message};

/// The number of batches that are filled at a time: the second keeps those workers busy for which the first has no
/// samples left.
const NUM_FILLERS: usize = 2;

/// The work on a batch, called from threads that may block.
pub(super) trait Work: Send + Sync + 'static {
    /// Makes `batch` the batch of `step`.
    fn fill(&self, step: u64, batch: &mut Batch) -> Result<()>;
    /// Requests that what `step` reads be brought into memory.
    fn advise(&self, step: u64);
}

/// What the prefetcher requests.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    /// The steps of the plan whose reads are requested.
    pub(super) steps: Range<u64>,
    /// How many steps the requests are ahead of the step being filled; `None` requests nothing.
    pub(super) ahead: Option<NonZeroU64>,
}

impl Reads {
    /// The reads of a run over `steps`, requested `prefetch_steps` ahead.
    pub(super) fn new(plan: &Plan, steps: &Range<u64>, prefetch_steps: u64) -> Self {
        let lead = plan.read_lead();
        let steps = plan.first_read(steps.start)..steps.end.saturating_add(lead);
        let ahead = NonZeroU64::new(prefetch_steps).map(|steps| steps.saturating_add(lead));
        Self { steps, ahead }
    }
}

/// The steps to carry and the channels at both ends.
#[derive(Debug)]
pub(super) struct Belt {
    pub(super) steps: Range<u64>,
    pub(super) num_buffers: usize,
    pub(super) reads: Reads,
    pub(super) empty: Receiver<Batch>,
    pub(super) ready: Sender<Result<Batch>>,
    pub(super) stats: Arc<PipelineStats>,
}

/// Carries batches until the last step, or until either end is dropped.
pub(super) async fn carry_batches(belt: Belt, work: Arc<impl Work>) {
    let Belt { steps, num_buffers, reads, empty, ready, stats } = belt;
    let (jobs, jobs_out) = bounded(1);
    let (filled, filled_out) = bounded(num_buffers);
    let (advice, advice_out) = bounded(1);
    tokio::spawn(plan_steps(steps.clone(), empty, advice, jobs, Arc::clone(&stats)));
    tokio::spawn(prefetch(reads, advice_out, Arc::clone(&work)));
    for _ in 0..NUM_FILLERS {
        tokio::spawn(fill_batches(jobs_out.clone(), filled.clone(), Arc::clone(&work)));
    }
    drop((jobs_out, filled, work));
    restore_order(steps.start, filled_out, ready, &stats).await;
}

/// Buffers are given out in step order, so the step that the trainer waits for always has one.
async fn plan_steps(
    steps: Range<u64>,
    empty: Receiver<Batch>,
    advice: Sender<u64>,
    jobs: Sender<(u64, Batch)>,
    stats: Arc<PipelineStats>,
) {
    for step in steps {
        let begun = Instant::now();
        let Ok(buffer) = empty.recv().await else { return };
        stats.buffer_taken();
        stats.planner_waited(step, begun);
        // A prefetcher that is behind sees only the latest step.
        let _ = advice.force_send(step);
        if jobs.send((step, buffer)).await.is_err() {
            return;
        }
    }
}

/// Keeps ahead of the planner.
async fn prefetch(reads: Reads, planned: Receiver<u64>, work: Arc<impl Work>) {
    let Reads { steps, ahead: Some(ahead) } = reads else { return };
    let mut next = steps.start;
    while let Ok(step) = planned.recv().await {
        let end = steps.end.min(step.saturating_add(1).saturating_add(ahead.get()));
        while next < end {
            let (work, step) = (Arc::clone(&work), next);
            // A panic here would recur when the step is filled, and is reported there.
            let _ = spawn_blocking(move || work.advise(step)).await;
            next += 1;
        }
    }
}

async fn fill_batches(jobs: Receiver<(u64, Batch)>, filled: Sender<(u64, Result<Batch>)>, work: Arc<impl Work>) {
    while let Ok((step, mut batch)) = jobs.recv().await {
        let work = Arc::clone(&work);
        let outcome = spawn_blocking(move || work.fill(step, &mut batch).map(|()| batch)).await;
        let result = outcome.unwrap_or_else(|failed| Err(panicked(step, failed)));
        if filled.send((step, result)).await.is_err() {
            return;
        }
    }
}

/// Holds batches back until all earlier ones have been sent. The first error ends it, when its step's turn comes, so
/// that what precedes an error does not depend on timing.
async fn restore_order(
    mut next: u64,
    filled: Receiver<(u64, Result<Batch>)>,
    ready: Sender<Result<Batch>>,
    stats: &PipelineStats,
) {
    let mut early = BTreeMap::new();
    while let Ok((step, result)) = filled.recv().await {
        early.insert(step, result);
        while let Some(result) = early.remove(&next) {
            let failed = result.is_err();
            if !failed {
                stats.batch_ready();
            }
            if ready.send(result).await.is_err() || failed {
                return;
            }
            next += 1;
        }
    }
}

fn panicked(step: u64, failed: tokio::task::JoinError) -> Error {
    let message = match failed.try_into_panic() {
        Ok(payload) => panic_message(&*payload),
        Err(cancelled) => cancelled.to_string(),
    };
    Error::Input(format!("the batch of step {step}: a worker panicked: {message}; this is a bug in the program"))
}
