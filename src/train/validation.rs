//! Top-1 and top-5 error over a split: one centre view, or the mean of ten views' softmax outputs (the paper's section
//! 4.1).

use std::sync::Arc;

use super::feeder::{Fed, Feeder};
use super::stop::Stop;
use crate::backend::{Backend, Pass, Slot, Statistics, StepScalars, rank};
use crate::error::Result;
use crate::input::{Augmentation, EvalPlan, NumViews, Pipeline, PipelineOptions, Plan};
use crate::progress::Progress;
use crate::shard::{Dataset, Split};
use crate::trace::Tracer;

/// How often a network is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// The share of samples whose class is not the likeliest, 0 to 1.
    pub top1_error: f64,
    /// The share of samples whose class is not among the five likeliest, 0 to 1.
    pub top5_error: f64,
    /// The mean cross-entropy in nats, of one view.
    pub loss: Option<f64>,
    pub num_samples: u64,
}

impl ErrorRates {
    /// The rates of counted steps.
    pub fn of(statistics: &Statistics) -> Self {
        let num_samples = statistics.num_samples as f64;
        Self {
            top1_error: 1.0 - statistics.num_top1 as f64 / num_samples,
            top5_error: 1.0 - statistics.num_top5 as f64 / num_samples,
            loss: Some(statistics.loss_sum / num_samples),
            num_samples: statistics.num_samples,
        }
    }
}

/// Sums softmax outputs over the views of each sample, which follow one another.
struct ViewSums {
    num_views: usize,
    /// (num_classes), of the sample at hand.
    sums: Vec<f64>,
    num_summed: usize,
    statistics: Statistics,
}

impl ViewSums {
    fn new(views: NumViews, num_classes: usize) -> Self {
        let statistics = Statistics::default();
        Self { num_views: views.count(), sums: vec![0.0; num_classes], num_summed: 0, statistics }
    }

    fn add(&mut self, probabilities: &[f32], label_of: &dyn Fn(usize) -> u32) {
        for view in probabilities.chunks_exact(self.sums.len()) {
            for (sum, &probability) in self.sums.iter_mut().zip(view) {
                *sum += f64::from(probability);
            }
            self.num_summed += 1;
            if self.num_summed == self.num_views {
                let label = label_of(self.statistics.num_samples as usize) as usize;
                let rank = rank(&self.sums, label);
                self.statistics.num_top1 += u64::from(rank < 1);
                self.statistics.num_top5 += u64::from(rank < 5);
                self.statistics.num_samples += 1;
                self.sums.fill(0.0);
                self.num_summed = 0;
            }
        }
    }
}

/// A pass over the validation split.
#[derive(Clone, Copy, Debug)]
pub struct Validation<'a> {
    /// Where the images come from.
    pub dataset: &'a Arc<Dataset>,
    /// How the network sees them.
    pub augmentation: &'a Augmentation,
    pub views: NumViews,
    /// Only the first so many images.
    pub limit: Option<usize>,
    /// Views of a batch.
    pub batch_size: usize,
    pub workers: usize,
}

impl Validation<'_> {
    /// Measures the network whose weights `backend` holds; `None` when `stop` was asked for before the end.
    pub fn run(&self, backend: &mut dyn Backend, stop: &Stop) -> Result<Option<ErrorRates>> {
        let split = self.dataset.split(Split::Val);
        let label_of = |index| split.sample(index).label;
        let mut one_view = Statistics::default();
        let mut ten_views = ViewSums::new(self.views, self.dataset.info().classes.len());
        let passed = self.pass(backend, stop, |backend, slot, _| {
            match self.views {
                NumViews::One => one_view.add(&backend.statistics(slot)?),
                NumViews::Ten => ten_views.add(backend.probabilities(slot)?, &label_of),
            }
            Ok(())
        })?;
        Ok(passed.map(|()| match self.views {
            NumViews::One => ErrorRates::of(&one_view),
            NumViews::Ten => ErrorRates { loss: None, ..ErrorRates::of(&ten_views.statistics) },
        }))
    }

    /// Runs all views through the network, batch by batch in the split's order. After each batch `look` may ask the
    /// backend what the step on that slot gave. `None` when `stop` was asked for before the end.
    pub fn pass(
        &self,
        backend: &mut dyn Backend,
        stop: &Stop,
        mut look: impl FnMut(&mut dyn Backend, Slot, &Fed) -> Result<()>,
    ) -> Result<Option<()>> {
        let &Self { dataset, augmentation, views, limit, batch_size, workers } = self;
        let plan = EvalPlan::new(dataset.split(Split::Val).num_samples(), limit, batch_size, views)?;
        let mut progress = Progress::new("evaluating", "views", plan.num_rows() as u64, 0);
        let options = PipelineOptions::new(backend.input_dtype(), workers, 0..plan.num_steps());
        let (plan, augmentation) = (Plan::Eval(plan), augmentation.clone());
        let tracer = Tracer::default();
        let source = Pipeline::start(Arc::clone(dataset), Split::Val, plan, augmentation, options, tracer)?;
        let mut feeder = Feeder::new(Box::new(source));
        let mut fed = feeder.feed(backend, Slot::of_step(0))?;
        while let Some(batch) = fed {
            if stop.requested() {
                break;
            }
            let slot = Slot::of_step(batch.step);
            backend.run(slot, Pass::Eval, StepScalars { step: batch.step, learning_rate: 0.0 })?;
            fed = feeder.feed(backend, Slot::of_step(batch.step + 1))?;
            look(backend, slot, &batch)?;
            progress.add(batch.num_valid as u64);
        }
        feeder.take_all_back(backend)?;
        Ok(fed.is_none().then_some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_averaged_before_the_classes_are_ranked() {
        let statistics = Statistics::default();
        let mut sums = ViewSums { num_views: 2, sums: vec![0.0; 3], num_summed: 0, statistics };
        // Class 1 is likeliest in the first view, class 0 on the mean of both; the batch ends between a sample's views.
        sums.add(&[0.3, 0.5, 0.2], &|_| 0);
        sums.add(&[0.6, 0.1, 0.3, 0.1, 0.1, 0.8], &|_| 0);
        assert_eq!((sums.statistics.num_samples, sums.statistics.num_top1), (1, 1));
        sums.add(&[0.1, 0.1, 0.8], &|_| 0);
        assert_eq!((sums.statistics.num_samples, sums.statistics.num_top1, sums.statistics.num_top5), (2, 1, 2));
    }
}
