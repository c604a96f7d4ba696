//! The filler makes a batch from its plan, on all workers at once.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::augment::{Augmenter, Value};
use super::batch::{Batch, Values};
use super::plan::{Plan, runs_of};
use super::reread::Kept;
use super::stats::PipelineStats;
use super::view::{Augmentation, View};
use super::workers::AugmentWorkers;
use crate::error::{Error, Result};
use crate::shard::{Dataset, Split, SplitReader};

/// The most samples in a task, a tenth of a millisecond of work: handing over a task costs some microseconds.
const MAX_TASK_SAMPLES: usize = 4;

#[derive(Debug)]
pub(super) struct Filler {
    pub(super) dataset: Arc<Dataset>,
    pub(super) split: Split,
    pub(super) plan: Plan,
    pub(super) augmentation: Augmentation,
    pub(super) augmenter: Augmenter,
    pub(super) workers: AugmentWorkers,
    pub(super) stats: Arc<PipelineStats>,
    /// Reads have been requested for all steps before this one.
    pub(super) next_read: AtomicU64,
    pub(super) kept: Kept,
}

impl Filler {
    /// Makes `batch` the batch of `step`. If several samples are damaged, the first in the batch is reported.
    pub(super) fn fill(&self, step: u64, batch: &mut Batch) -> Result<()> {
        let plan = self.plan.batch(step, &self.augmentation);
        (batch.step, batch.epoch, batch.num_valid) = (plan.step, plan.epoch, plan.views.len());
        if self.next_read.load(Relaxed) <= step + self.plan.read_lead() {
            // The prefetcher has not requested this step yet, and without a request each page would be read alone.
            self.ask_for(runs_of(plan.views.iter().map(|view| view.sample).collect()));
        }
        batch.labels[plan.views.len()..].fill(0);
        let labels = &mut batch.labels[..plan.views.len()];
        match &mut batch.values {
            Values::F32(values) => self.fill_views(step, &plan.views, values, labels),
            Values::F16(values) => self.fill_views(step, &plan.views, values, labels),
        }
    }

    /// Rows without a view become zero, so that a batch depends only on its plan.
    fn fill_views<V: Value>(&self, step: u64, views: &[View], values: &mut [V], labels: &mut [u32]) -> Result<()> {
        let sample_values = self.augmentation.frame().num_values();
        let (values, unused) = values.split_at_mut(views.len() * sample_values);
        unused.fill(V::ZERO);
        // At least four tasks per worker, so that the workers finish at nearly the same time.
        let task_samples = (views.len() / (4 * self.workers.count())).clamp(1, MAX_TASK_SAMPLES);
        let failure = Mutex::new(None);
        self.workers.scope(|scope| {
            let outputs = values.chunks_mut(task_samples * sample_values).zip(labels.chunks_mut(task_samples));
            for (task, (views, (values, labels))) in views.chunks(task_samples).zip(outputs).enumerate() {
                let failure = &failure;
                scope.spawn(move |_| {
                    if let Err(error) = self.write_views(step, views, values, labels) {
                        keep_first(failure, task, error);
                    }
                });
            }
        });
        let failure = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn write_views<V: Value>(&self, step: u64, views: &[View], values: &mut [V], labels: &mut [u32]) -> Result<()> {
        let begun = Instant::now();
        let (samples, frame) = (self.samples(), self.augmentation.frame());
        let stored_mean = self.dataset.mean();
        let mean = self.augmentation.mean().unwrap_or(stored_mean);
        let mut other = Vec::new();
        for ((view, out), label) in views.iter().zip(values.chunks_exact_mut(frame.num_values())).zip(labels) {
            let sample = samples.verified_sample(view.sample)?;
            let mut bytes = sample.bytes;
            if self.augmentation.mean().is_some() {
                let stored = bytes.iter().zip(stored_mean).zip(mean);
                other.clear();
                other.extend(stored.map(|((byte, stored), mean)| byte.wrapping_add(*stored).wrapping_sub(*mean)));
                bytes = &other;
            }
            self.augmenter.write(bytes, mean, view, frame, out);
            *label = sample.label;
        }
        self.stats.augmented(step, views.len(), begun);
        Ok(())
    }

    /// Asks the operating system to read what the plan reads with a step, except what is already in memory.
    pub(super) fn advise(&self, step: u64) {
        let mut runs = self.plan.reads(step);
        let were_read = |run: &Range<usize>| self.samples().were_read(run.clone());
        if runs.iter().any(were_read) && self.kept.holds() {
            runs.retain(|run| !were_read(run));
        }
        self.ask_for(runs);
        self.next_read.fetch_max(step + 1, Relaxed);
    }

    fn ask_for(&self, runs: Vec<Range<usize>>) {
        for run in runs {
            let num_samples = run.len();
            if self.samples().advise(run).is_err() {
                self.stats.advice_failed(num_samples);
            }
        }
    }

    fn samples(&self) -> &SplitReader {
        self.dataset.split(self.split)
    }
}

fn keep_first(failure: &Mutex<Option<(usize, Error)>>, task: usize, error: Error) {
    let mut failure = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if failure.as_ref().is_none_or(|(earlier, _)| task < *earlier) {
        *failure = Some((task, error));
    }
}
