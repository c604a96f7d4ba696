//! The plan says which views of which samples a step sees: a pure function of the seed and the step.

use std::ops::Range;

use super::order::{BlockOrder, WINDOW_SAMPLES};
use super::view::{Augmentation, View};
use crate::error::{Error, Result};
use crate::philox::{Permutation, Purpose};
use crate::recipe::settings::OrderKind;

/// The views of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPlan {
    /// The number of the step, from 0.
    pub step: u64,
    /// The epoch that the step belongs to.
    pub epoch: u32,
    /// The views in the batch's order. Only the last step of an evaluation may have fewer than the batch has room for.
    pub views: Vec<View>,
}

/// The plan of every step.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Training, epoch after epoch without end.
    Train(TrainPlan),
    /// Evaluation, with every sample once.
    Eval(EvalPlan),
}

impl Plan {
    /// The number of samples (in an evaluation, views) in a batch.
    pub fn batch_size(&self) -> usize {
        match self {
            Self::Train(plan) => plan.batch_size,
            Self::Eval(plan) => plan.batch_size,
        }
    }

    /// The number of steps; `None` for training, which has no end.
    pub fn num_steps(&self) -> Option<u64> {
        match self {
            Self::Train(_) => None,
            Self::Eval(plan) => Some(plan.num_steps()),
        }
    }

    /// The number of samples that the plan covers.
    pub fn num_samples(&self) -> usize {
        match self {
            Self::Train(plan) => plan.num_samples,
            Self::Eval(plan) => plan.num_samples,
        }
    }

    /// The samples of a step, in the batch's order.
    pub fn samples(&self, step: u64) -> Vec<usize> {
        match self {
            Self::Train(plan) => plan.samples(step),
            Self::Eval(plan) => plan.rows(step).map(|row| row / plan.views.count()).collect(),
        }
    }

    /// What is to be read from the disk with a step, in runs of neighbours. All samples of a step have been read once
    /// the reads from [`Plan::first_read`] to [`Plan::read_lead`] steps beyond it are done.
    pub fn reads(&self, step: u64) -> Vec<Range<usize>> {
        match self {
            Self::Train(plan) if plan.order == OrderKind::Blocks => plan.block_reads(step),
            _ => runs_of(self.samples(step)),
        }
    }

    /// How many steps the reads are ahead of the samples.
    pub fn read_lead(&self) -> u64 {
        match self {
            Self::Train(plan) if plan.order == OrderKind::Blocks => {
                WINDOW_SAMPLES.div_ceil(plan.samples_per_step()) as u64
            }
            _ => 0,
        }
    }

    /// The step whose reads come first for a run that begins at `step`: in the order of blocks, the beginning of its
    /// window.
    pub fn first_read(&self, step: u64) -> u64 {
        match self {
            Self::Train(plan) if plan.order == OrderKind::Blocks => {
                let step_of_epoch = step % plan.steps_per_epoch();
                let position = step_of_epoch as usize * plan.samples_per_step();
                let window_start = position - position % WINDOW_SAMPLES;
                step - step_of_epoch + (window_start / plan.samples_per_step()) as u64
            }
            _ => step,
        }
    }

    /// The views of a step.
    pub fn batch(&self, step: u64, augmentation: &Augmentation) -> BatchPlan {
        match self {
            Self::Train(plan) => plan.batch(step, augmentation),
            Self::Eval(plan) => plan.batch(step, augmentation),
        }
    }
}

/// The order of training. The remainder of an epoch after its last whole batch is left out; in a shuffled order it is a
/// different one each epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
    seed: u64,
    num_samples: usize,
    batch_size: usize,
    order: OrderKind,
    rank: usize,
    world: usize,
}

impl TrainPlan {
    /// The plan of one trainer for a split of `num_samples`.
    pub fn new(seed: u64, num_samples: usize, batch_size: usize, order: OrderKind) -> Result<Self> {
        Self { seed, num_samples, batch_size, order, rank: 0, world: 1 }.checked()
    }

    /// The plan of trainer `rank` (from 0) of `world`, which share the samples of each step. Their other arguments must
    /// be equal.
    pub fn of_rank(self, rank: usize, world: usize) -> Result<Self> {
        assert!(rank < world, "rank {rank} of {world}");
        Self { rank, world, ..self }.checked()
    }

    fn checked(self) -> Result<Self> {
        let Self { num_samples, batch_size, world, .. } = self;
        if batch_size == 0 {
            return Err(Error::usage("train.batch_size = 0: a batch has at least one sample"));
        }
        if batch_size * world > num_samples {
            let of_all = if world > 1 { format!(" of each of {world} trainers") } else { String::new() };
            return Err(Error::usage(format!(
                "train.batch_size = {batch_size}{of_all}, but the training split has {num_samples} samples; \
                 set train.batch_size to {} or less, or pack more images",
                (num_samples / world).max(1)
            )));
        }
        Ok(self)
    }

    /// The number of steps in an epoch, at least one.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.num_samples / self.samples_per_step()) as u64
    }

    /// The samples of all trainers.
    fn samples_per_step(&self) -> usize {
        self.batch_size * self.world
    }

    /// The epoch that a step belongs to.
    pub fn epoch(&self, step: u64) -> u32 {
        u32::try_from(step / self.steps_per_epoch()).expect("epochs are counted in 32 bits")
    }

    fn samples(&self, step: u64) -> Vec<usize> {
        let step_of_epoch = (step % self.steps_per_epoch()) as usize;
        let first = (step_of_epoch * self.world + self.rank) * self.batch_size;
        let positions = first..first + self.batch_size;
        match self.order {
            OrderKind::Sequential => positions.collect(),
            OrderKind::Shuffled => {
                let order = Permutation::new(self.seed, Purpose::Order, self.epoch(step), self.num_samples as u64);
                positions.map(|position| order.at(position as u64) as usize).collect()
            }
            OrderKind::Blocks => {
                let order = BlockOrder::new(self.seed, self.epoch(step), self.num_samples);
                positions.map(|position| order.at(position)).collect()
            }
        }
    }

    /// As many samples as a step of all trainers sees, in the order in which they are stored, and with the last step of
    /// an epoch its remainder, which is in the same window. Each trainer reads whole blocks: if trainers share a page
    /// cache, only the first of them waits for the disk.
    fn block_reads(&self, step: u64) -> Vec<Range<usize>> {
        let step_of_epoch = step % self.steps_per_epoch();
        let first = step_of_epoch as usize * self.samples_per_step();
        let is_last = step_of_epoch + 1 == self.steps_per_epoch();
        let end = if is_last { self.num_samples } else { first + self.samples_per_step() };
        BlockOrder::new(self.seed, self.epoch(step), self.num_samples).runs(first..end)
    }

    fn batch(&self, step: u64, augmentation: &Augmentation) -> BatchPlan {
        let epoch = self.epoch(step);
        let view = |sample| augmentation.training_view(self.seed, epoch, sample);
        BatchPlan { step, epoch, views: self.samples(step).into_iter().map(view).collect() }
    }
}

/// The number of views of a sample that an evaluation averages over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumViews {
    /// The centre crop.
    One,
    /// The four corners and the centre, each with its mirror image.
    Ten,
}

impl NumViews {
    /// 1 or 10.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Ten => 10,
        }
    }
}

/// The order of an evaluation: the samples as they are stored, all views of one before the next. A sample's views may
/// be split between two batches if the batch size is not a multiple of their number.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalPlan {
    num_samples: usize,
    batch_size: usize,
    views: NumViews,
}

impl EvalPlan {
    /// The plan for a split of `num_samples`, or its first `limit`; a batch has room for `batch_size` views.
    pub fn new(num_samples: usize, limit: Option<usize>, batch_size: usize, views: NumViews) -> Result<Self> {
        let num_samples = limit.map_or(num_samples, |limit| limit.min(num_samples));
        if num_samples == 0 || batch_size == 0 {
            return Err(Error::usage(format!(
                "nothing to evaluate: {num_samples} samples in batches of {batch_size}; \
                 the split is empty or a limit is 0"
            )));
        }
        Ok(Self { num_samples, batch_size, views })
    }

    /// The number of steps; the last may be short.
    pub fn num_steps(&self) -> u64 {
        self.num_rows().div_ceil(self.batch_size) as u64
    }

    /// The number of views of all samples, which are the rows of all batches.
    pub fn num_rows(&self) -> usize {
        self.num_samples * self.views.count()
    }

    /// Row r is view r mod `views` of sample r / `views`.
    fn rows(&self, step: u64) -> std::ops::Range<usize> {
        let first = step as usize * self.batch_size;
        first..self.num_rows().min(first + self.batch_size)
    }

    fn batch(&self, step: u64, augmentation: &Augmentation) -> BatchPlan {
        let view = |row: usize| {
            let sample = row / self.views.count();
            match self.views {
                NumViews::One => augmentation.centre_view(sample),
                NumViews::Ten => augmentation.ten_views(sample)[row % 10],
            }
        };
        BatchPlan { step, epoch: 0, views: self.rows(step).map(view).collect() }
    }
}

/// Sorts samples into runs of neighbours.
pub fn runs_of(mut samples: Vec<usize>) -> Vec<Range<usize>> {
    samples.sort_unstable();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for sample in samples {
        match runs.last_mut() {
            Some(run) if sample <= run.end => run.end = run.end.max(sample + 1),
            _ => runs.push(sample..sample + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn epoch_samples(plan: &TrainPlan, epoch: u64) -> Vec<usize> {
        let steps = epoch * plan.steps_per_epoch()..(epoch + 1) * plan.steps_per_epoch();
        steps.flat_map(|step| plan.samples(step)).collect()
    }

    #[test]
    fn an_epoch_sees_each_sample_at_most_once_and_leaves_out_less_than_a_batch() {
        let plan = TrainPlan::new(1, 103, 10, OrderKind::Shuffled).unwrap();
        assert_eq!(plan.steps_per_epoch(), 10);
        let epochs: Vec<Vec<usize>> = (0..20).map(|epoch| epoch_samples(&plan, epoch)).collect();
        for samples in &epochs {
            let distinct: BTreeSet<usize> = samples.iter().copied().collect();
            assert!(samples.len() == 100 && distinct.len() == 100 && distinct.iter().all(|&sample| sample < 103));
        }
        assert_ne!(epochs[0], epochs[1]);
        // Another remainder each epoch: three samples that were never seen in 20 epochs would be chance of 1e-30.
        assert_eq!(epochs.concat().into_iter().collect::<BTreeSet<_>>().len(), 103);
    }

    #[test]
    fn trainers_that_share_an_epoch_split_the_batches_of_one_trainer() {
        for order in [OrderKind::Shuffled, OrderKind::Blocks] {
            let one = TrainPlan::new(7, 100, 12, order).unwrap();
            let plan = TrainPlan::new(7, 100, 4, order).unwrap();
            let ranks: Vec<TrainPlan> = (0..3).map(|rank| plan.clone().of_rank(rank, 3).unwrap()).collect();
            assert_eq!(ranks[0].steps_per_epoch(), one.steps_per_epoch());
            for step in 0..20 {
                let shared: Vec<usize> = ranks.iter().flat_map(|rank| rank.samples(step)).collect();
                assert_eq!(shared, one.samples(step));
            }
        }
    }

    #[test]
    fn a_step_s_samples_are_read_before_it_wherever_a_run_begins() {
        let train = |order, num_samples, batch_size| TrainPlan::new(5, num_samples, batch_size, order).unwrap();
        let plans = [
            Plan::Train(train(OrderKind::Blocks, 10_000, 128)),
            Plan::Train(train(OrderKind::Blocks, 10_000, 96).of_rank(1, 3).unwrap()),
            Plan::Train(train(OrderKind::Blocks, 300, 128)),
            Plan::Train(train(OrderKind::Shuffled, 1000, 128)),
            Plan::Train(train(OrderKind::Sequential, 1000, 128)),
            Plan::Eval(EvalPlan::new(60, None, 32, NumViews::Ten).unwrap()),
        ];
        for plan in plans {
            let num_steps = plan.num_steps().unwrap_or(180);
            for first_step in [0, 1, 15, 16, 17, 40, 77, 150].into_iter().filter(|&step| step < num_steps) {
                let mut read = BTreeSet::new();
                let mut next_read = plan.first_read(first_step);
                assert!(next_read <= first_step);
                for step in first_step..num_steps.min(first_step + 40) {
                    while next_read <= step + plan.read_lead() && next_read < num_steps + plan.read_lead() {
                        read.extend(plan.reads(next_read).into_iter().flatten());
                        next_read += 1;
                    }
                    assert!(plan.samples(step).iter().all(|sample| read.contains(sample)), "step {step}: {plan:?}");
                }
            }
        }
    }

    #[test]
    fn blocks_are_read_once_an_epoch_in_long_runs() {
        let plan = Plan::Train(TrainPlan::new(5, 10_000, 128, OrderKind::Blocks).unwrap());
        let runs: Vec<Range<usize>> = (0..78).flat_map(|step| plan.reads(step)).collect();
        // 157 blocks, one of which may go over the end, and 78 steps, which end in the middle of at most as many.
        assert!(runs.len() <= 157 + 1 + 78, "{} runs", runs.len());
        let mut read: Vec<usize> = runs.into_iter().flatten().collect();
        read.sort_unstable();
        assert_eq!(read, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn runs_are_sorted_merged_and_without_repetition() {
        assert_eq!(runs_of(vec![7, 3, 4, 4, 9, 8, 1]), [1..2, 3..5, 7..10]);
        assert!(runs_of(vec![]).is_empty());
    }

    #[test]
    fn a_batch_larger_than_the_split_is_an_error_with_both_numbers() {
        let error = TrainPlan::new(1, 100, 128, OrderKind::Shuffled).unwrap_err().to_string();
        assert!(error.contains("train.batch_size = 128") && error.contains("100 samples"), "{error}");
        assert!(error.contains("set train.batch_size to 100 or less"), "{error}");
        let plan = TrainPlan::new(1, 100, 60, OrderKind::Shuffled).unwrap();
        let error = plan.of_rank(0, 2).unwrap_err().to_string();
        assert!(error.contains("each of 2 trainers") && error.contains("to 50 or less"), "{error}");
        assert!(TrainPlan::new(1, 100, 0, OrderKind::Shuffled).is_err());
        assert!(EvalPlan::new(0, None, 8, NumViews::One).is_err());
        assert!(EvalPlan::new(5, Some(0), 8, NumViews::One).is_err());
    }
}
