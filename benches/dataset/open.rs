//! How long a dataset takes to open, and how much memory. Cold: the page cache has none of its headers and tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use alexnet::bench::resources::peak_resident_bytes;
use alexnet::input::BatchSource;
use alexnet::recipe::settings::OrderKind;
use alexnet::shard::{Dataset, DatasetInfo};

use crate::report::spread;
use crate::{drop_from_cache, measured_alone, pipeline, sparse};

/// Samples in the training split; the last is ImageNet's.
const SIZES: [usize; 3] = [1_000, 100_000, 1_281_167];
const NUM_VAL: usize = 50_000;

pub fn compare(num_rounds: usize) {
    println!("{num_rounds} rounds: median (lowest to highest)");
    println!(
        "{:>10} {:>8} {:5} {:>26} {:>26} {:>22}",
        "samples", "GB", "", "open, ms", "to a first batch, ms", "peak, MB"
    );
    for num_train in SIZES {
        let folder = sparse(num_train, NUM_VAL.min(num_train));
        let gigabytes = num_bytes(Dataset::open(folder.path()).expect("a sparse dataset").info()) as f64 * 1e-9;
        for state in ["cold", "warm"] {
            let rounds: Vec<[f64; 3]> = (0..num_rounds)
                .map(|_| {
                    if state == "cold" {
                        drop_from_cache(folder.path());
                    }
                    measured_alone("open", folder.path(), None)
                })
                .collect();
            let [open, first_batch, peak] = [0, 1, 2].map(|index| spread(rounds.iter().map(|round| round[index]), 1));
            println!("{num_train:>10} {gigabytes:>8.1} {state:5} {open:>26} {first_batch:>26} {peak:>22}");
        }
    }
}

fn num_bytes(info: &DatasetInfo) -> u64 {
    info.train.shards.iter().chain(&info.val.shards).map(|shard| shard.num_bytes).sum()
}

/// The milliseconds to an open dataset, the milliseconds to the first batch after that, and the peak in MB as it was
/// when the dataset was open.
pub fn measure(folder: &Path) -> [f64; 3] {
    let begun = Instant::now();
    let dataset = Arc::new(Dataset::open(folder).expect("a sparse dataset"));
    let open = begun.elapsed();
    let peak = peak_resident_bytes().expect("the bench runs on Linux") as f64 * 1e-6;
    let begun = Instant::now();
    let mut pipeline = pipeline(&dataset, 128, OrderKind::Shuffled, 2, Some(u64::MAX));
    pipeline.recv().expect("a batch").expect("a first step");
    [open.as_secs_f64() * 1e3, begun.elapsed().as_secs_f64() * 1e3, peak]
}
