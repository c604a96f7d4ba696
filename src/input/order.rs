//! The order of blocks: mixed nearly as well as a full shuffle, but read from the disk in long runs.
//!
//! An epoch is cut into blocks of neighbours, the blocks are shuffled, and the samples of every [`WINDOW_BLOCKS`]
//! blocks are shuffled together. So a reader that takes the blocks in this order, one window ahead of the trainer,
//! reads [`BLOCK_SAMPLES`] samples of 192 KiB at a time: 12 MiB, for which even a spinning disk spends little time
//! seeking. Samples of one block meet in a batch more often than others, but packing has made them neighbours at
//! random.

use std::ops::Range;

use crate::philox::{Permutation, Purpose, below, words};

/// The number of neighbours that stay in one window.
pub const BLOCK_SAMPLES: usize = 64;
/// The number of blocks that are shuffled together: 2048 samples, sixteen batches of 128. A window takes 403 MB of the
/// page cache, and there are two: the one that is trained on and the one that is read.
pub const WINDOW_BLOCKS: usize = 32;
/// The number of samples that are shuffled together.
pub const WINDOW_SAMPLES: usize = BLOCK_SAMPLES * WINDOW_BLOCKS;

/// The order of one epoch: a pure function without a list in memory.
#[derive(Clone, Copy, Debug)]
pub struct BlockOrder {
    seed: u64,
    epoch: u32,
    num_samples: usize,
    /// The first sample of the first block. Blocks are cut at different places each epoch, so that the same samples are
    /// not neighbours every time, and the remainder is left out at random.
    origin: usize,
    /// The order of the whole blocks, if there is any. The remaining samples come last.
    blocks: Option<Permutation>,
}

impl BlockOrder {
    /// The order of an epoch of `num_samples`, at least one.
    pub fn new(seed: u64, epoch: u32, num_samples: usize) -> Self {
        let [word, ..] = words(seed, Purpose::BlockOrigin, [epoch, 0, 0]);
        let origin = below(word, u32::try_from(num_samples).expect("samples of a split are counted in 32 bits"));
        let num_blocks = (num_samples / BLOCK_SAMPLES) as u64;
        let blocks = (num_blocks > 0).then(|| Permutation::new(seed, Purpose::Blocks, epoch, num_blocks));
        Self { seed, epoch, num_samples, origin: origin as usize, blocks }
    }

    /// The sample that is trained on at `position`.
    pub fn at(&self, position: usize) -> usize {
        let window = position / WINDOW_SAMPLES;
        let start = window * WINDOW_SAMPLES;
        let len = WINDOW_SAMPLES.min(self.num_samples - start);
        // Windows are numbered over all epochs. The numbers repeat after 2^32, 7 million epochs of ImageNet.
        let number = (u64::from(self.epoch) * self.num_samples.div_ceil(WINDOW_SAMPLES) as u64 + window as u64) as u32;
        let mixed = Permutation::new(self.seed, Purpose::Window, number, len as u64);
        let place = start + mixed.at((position - start) as u64) as usize;
        (self.block_start(place / BLOCK_SAMPLES) + place % BLOCK_SAMPLES) % self.num_samples
    }

    /// The samples at `places` of the order before windows are shuffled, as runs of neighbours. The places of a window
    /// hold the same samples as its positions.
    pub fn runs(&self, places: Range<usize>) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut place = places.start;
        while place < places.end {
            let len = (BLOCK_SAMPLES - place % BLOCK_SAMPLES).min(places.end - place);
            let first = (self.block_start(place / BLOCK_SAMPLES) + place % BLOCK_SAMPLES) % self.num_samples;
            // A block may wrap around the end of the split.
            let before_end = len.min(self.num_samples - first);
            runs.push(first..first + before_end);
            if before_end < len {
                runs.push(0..len - before_end);
            }
            place += len;
        }
        runs
    }

    /// Not wrapped: a block's first sample is this modulo the number of samples.
    fn block_start(&self, slot: usize) -> usize {
        let block = match &self.blocks {
            Some(blocks) if slot < self.num_samples / BLOCK_SAMPLES => blocks.at(slot as u64) as usize,
            _ => slot,
        };
        self.origin + block * BLOCK_SAMPLES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch_samples(seed: u64, epoch: u32, num_samples: usize) -> Vec<usize> {
        let order = BlockOrder::new(seed, epoch, num_samples);
        (0..num_samples).map(|position| order.at(position)).collect()
    }

    fn sorted(mut samples: Vec<usize>) -> Vec<usize> {
        samples.sort_unstable();
        samples
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_epoch_visits_every_sample_once(num_samples in 1_usize..6000, seed: u64, epoch in 0_u32..1000) {
            prop_assert_eq!(sorted(epoch_samples(seed, epoch, num_samples)), (0..num_samples).collect::<Vec<_>>());
        }

        #[test]
        fn a_window_s_runs_hold_its_samples(num_samples in 1_usize..6000, seed: u64, epoch in 0_u32..1000) {
            let order = BlockOrder::new(seed, epoch, num_samples);
            for start in (0..num_samples).step_by(WINDOW_SAMPLES) {
                let window = start..num_samples.min(start + WINDOW_SAMPLES);
                let runs = order.runs(window.clone());
                prop_assert!(runs.iter().all(|run| run.end <= num_samples && run.len() <= BLOCK_SAMPLES), "{runs:?}");
                // One run per block, and at most two more for a block that wraps around and for the remainder.
                prop_assert!(runs.len() <= WINDOW_BLOCKS + 2, "{runs:?}");
                let read = sorted(runs.into_iter().flatten().collect());
                prop_assert_eq!(read, sorted(window.map(|position| order.at(position)).collect()));
            }
        }
    }

    #[test]
    fn orders_differ_by_seed_and_epoch() {
        let order = epoch_samples(1, 0, 5000);
        assert_ne!(order, epoch_samples(1, 1, 5000));
        assert_ne!(order, epoch_samples(2, 0, 5000));
    }

    #[test]
    fn a_sample_s_position_is_anywhere_with_equal_chance() {
        // Where sample 0 lands in 400 epochs of 5,000 samples: each tenth 40 times, deviation 6.
        let mut counts = [0_i32; 10];
        for epoch in 0..400 {
            let order = BlockOrder::new(9, epoch, 5000);
            let position = (0..5000).find(|&position| order.at(position) == 0).unwrap();
            counts[position / 500] += 1;
        }
        assert!(counts.iter().all(|count| (count - 40).abs() < 30), "{counts:?}");
    }

    #[test]
    fn a_batch_holds_few_samples_of_each_block() {
        // 128 of 2048 samples in 32 blocks: four of each are expected, deviation 1.9; twelve of one would be chance of
        // 1e-4, sixteen of 1e-6.
        let order = BlockOrder::new(4, 0, 100_000);
        for start in (0..90_000).step_by(128) {
            let mut counts = std::collections::BTreeMap::new();
            for position in start..start + 128 {
                let block = (order.at(position) + 100_000 - order.origin) % 100_000 / BLOCK_SAMPLES;
                *counts.entry(block).or_insert(0) += 1;
            }
            assert!(counts.values().all(|&count| count < 18), "{counts:?}");
        }
    }
}
