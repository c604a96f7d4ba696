//! Which images are packed, and in which order: one job per image, first those of the training split, then those of the
//! validation split. A pure function of the counts and the seed.

use super::options::PackOptions;
use super::source::Source;
use crate::philox::{Permutation, Purpose};
use crate::shard::Split;

/// The validation split's order does not depend on the seed, so that with `--max-val` every seed is evaluated on the
/// same images, drawn from all classes.
const VAL_SEED: u64 = 0;

#[derive(Clone, Debug)]
pub struct PackPlan {
    counts: [u64; 2],
    /// `None` for an empty split.
    orders: [Option<Permutation>; 2],
}

impl PackPlan {
    pub fn new(source: &Source, options: &PackOptions) -> Self {
        let num_listed = Split::ALL.map(|split| source.index.num_images(split));
        let order = |split: Split, seed| {
            let num = num_listed[split as usize];
            (num > 0).then(|| Permutation::new(seed, Purpose::Pack, split as u32, num))
        };
        let limits = [options.max_train, options.max_val].map(|limit| limit.unwrap_or(u64::MAX));
        Self {
            counts: [num_listed[0].min(limits[0]), num_listed[1].min(limits[1])],
            orders: [order(Split::Train, options.seed), order(Split::Val, VAL_SEED)],
        }
    }

    pub fn num_jobs(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The split of a job's image, and the image's number in the source's list.
    pub fn image(&self, job: u64) -> (Split, u64) {
        let num_train = self.counts[Split::Train as usize];
        let (split, position) = if job < num_train { (Split::Train, job) } else { (Split::Val, job - num_train) };
        let order = self.orders[split as usize].as_ref().expect("a split with jobs has an order");
        (split, order.at(position))
    }
}
