//! Verifies every checksum of every shard.

use std::path::Path;
use std::sync::Mutex;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::dataset::{DatasetInfo, open_shard};
use super::format::Split;
use super::reader::ShardReader;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Samples between two updates of the progress bar.
const SAMPLES_A_STEP: usize = 64;

/// The result of [`verify`].
#[derive(Debug)]
pub struct Verification {
    /// The number of samples that agree with their checksums.
    pub num_sound: u64,
    /// Everything that is damaged.
    pub damages: Vec<Error>,
}

/// Reads the whole dataset in `out`. Damage is part of the result, not an error.
pub fn verify(out: &Path) -> Result<Verification> {
    let info = DatasetInfo::read(out)?;
    let num_samples = info.train.num_samples + info.val.num_samples;
    let progress = Mutex::new(Progress::new("verify", "images", num_samples, 0));
    let mut verification = Verification { num_sound: 0, damages: Vec::new() };
    for split in Split::ALL {
        for index in 0..info.split(split).shards.len() {
            match open_shard(out, &info, split, index) {
                Err(damage) => verification.damages.push(damage),
                Ok(shard) => verify_shard(&shard, &progress, &mut verification),
            }
        }
    }
    Ok(verification)
}

fn verify_shard(shard: &ShardReader, progress: &Mutex<Progress>, verification: &mut Verification) {
    if let Err(damage) = shard.verify_mean().and_then(|()| shard.verify_tables()) {
        // Samples cannot be verified without the tables.
        verification.damages.push(damage);
        return;
    }
    let num_samples = shard.num_samples();
    let steps = (0..num_samples).step_by(SAMPLES_A_STEP).collect::<Vec<_>>().into_par_iter();
    let damages: Vec<Error> = steps
        .flat_map_iter(|start| {
            let end = (start + SAMPLES_A_STEP).min(num_samples);
            // Covers the next step too, so that the disk keeps reading while this one is verified. If the operating
            // system refuses, the pages are still read, one by one.
            let _ = shard.advise(start..(end + SAMPLES_A_STEP).min(num_samples));
            let damages: Vec<_> = (start..end).filter_map(|index| shard.verify_sample(index).err()).collect();
            progress.lock().expect("no thread panics while it holds the lock").add((end - start) as u64);
            damages
        })
        .collect();
    verification.num_sound += (num_samples - damages.len()) as u64;
    verification.damages.extend(damages);
}
