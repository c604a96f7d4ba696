//! How long a dataset takes to open, and how much memory: sparse datasets up to ImageNet's size.
//!
//! Each measurement is a process of its own, so that its peak is its own. `cold` means that the kernel was told to
//! drop the shards from its cache (a sparse dataset's headers and tables are real bytes on the disk).
//! `cargo bench --bench open [-- --rounds 5]`

#[path = "../tests/common/sparse.rs"]
mod sparse;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use alexnet::input::{Augmentation, BatchSource, Dtype, Pipeline, PipelineOptions, Plan, TrainPlan};
use alexnet::recipe::settings::{AugmentSettings, OrderKind};
use alexnet::shard::{Dataset, Split};
use sparse::{hole_checksum, sparse_dataset};

/// Samples in the training split; the last is ImageNet's.
const SIZES: [usize; 3] = [1_000, 100_000, 1_281_167];
const NUM_VAL: usize = 50_000;
const NUM_CLASSES: usize = 1000;
const SHARD_SAMPLES: usize = 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--measure") {
        Some(at) => measure(Path::new(&arguments[at + 1])),
        None => compare(
            arguments
                .iter()
                .position(|argument| argument == "--rounds")
                .map_or(5, |at| arguments[at + 1].parse().expect("a whole number")),
        ),
    }
}

fn compare(num_rounds: usize) {
    println!("{num_rounds} rounds: median (lowest to highest)");
    println!(
        "{:>10} {:>8} {:5} {:>26} {:>26} {:>22}",
        "samples", "GB", "", "open, ms", "to a first batch, ms", "peak, MB"
    );
    for num_train in SIZES {
        let dir = tempfile::tempdir().expect("a folder for the dataset");
        let (hole, num_val) = (hole_checksum(), NUM_VAL.min(num_train));
        let info = sparse_dataset(dir.path(), num_train, num_val, NUM_CLASSES, SHARD_SAMPLES, &|_| hole);
        let num_bytes: u64 = info.train.shards.iter().chain(&info.val.shards).map(|shard| shard.num_bytes).sum();
        rustix::fs::syncfs(File::open(dir.path()).expect("the folder")).expect("synced");
        for state in ["cold", "warm"] {
            let rounds: Vec<[f64; 3]> = (0..num_rounds)
                .map(|_| {
                    if state == "cold" {
                        drop_from_cache(dir.path());
                    }
                    measured(dir.path())
                })
                .collect();
            let column = |index: usize| spread(rounds.iter().map(|round| round[index]));
            let gigabytes = num_bytes as f64 * 1e-9;
            println!(
                "{num_train:>10} {gigabytes:>8.1} {state:5} {:>26} {:>26} {:>22}",
                column(0),
                column(1),
                column(2)
            );
        }
    }
}

/// Runs `measure` in a process of its own.
fn measured(dir: &Path) -> [f64; 3] {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg("--measure").arg(dir).output().expect("this program again");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    numbers.try_into().expect("three numbers")
}

/// Prints the milliseconds to an open dataset, the milliseconds to the first batch after that, and the peak in MB as it
/// was when the dataset was open.
fn measure(dir: &Path) {
    let begun = Instant::now();
    let dataset = Arc::new(Dataset::open(dir).expect("a sparse dataset"));
    let open = begun.elapsed();
    let peak = peak_megabytes();
    let begun = Instant::now();
    let num_samples = dataset.split(Split::Train).num_samples();
    let plan = TrainPlan::new(1, num_samples, 128, OrderKind::Shuffled).expect("a batch");
    let augmentation =
        Augmentation::new(&AugmentSettings::default(), &dataset.info().statistics).expect("the paper's settings");
    let options = PipelineOptions::new(Dtype::F16, 2, 0..u64::MAX);
    let mut pipeline =
        Pipeline::start(dataset, Split::Train, Plan::Train(plan), augmentation, options).expect("a pipeline");
    pipeline.recv().expect("a batch").expect("a first step");
    println!("{} {} {peak}", open.as_secs_f64() * 1e3, begun.elapsed().as_secs_f64() * 1e3);
}

fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the bench runs on Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("kilobytes") * 1024e-6
}

fn drop_from_cache(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("the folder") {
        let file = File::open(entry.expect("an entry").path()).expect("a file");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
    }
}

/// Median (lowest to highest).
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1} to {:.1})", sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}
