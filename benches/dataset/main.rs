//! What a dataset costs, at sizes up to ImageNet's: `cargo bench --bench dataset -- MODE`.
//!
//! - `open [--rounds 5]`: the time and memory to open it, and the time to a first batch, cold and warm;
//! - `cold [--samples 40000 --rounds 3 --workers 2 --dir DIR]`: an epoch from a cold page cache, the orders of training
//!   beside a plain sequential read of the same files (200 KB of disk a sample; a DIR is kept, and used again);
//! - `growth [--rounds 5]`: speed and memory by workers, by batch size and by samples, as the tables of a record.
//!
//! `open` and `growth` measure sparse datasets: samples are holes in their files, which the operating system turns into
//! pages of zeros when they are first read. Each of their measurements is a process of its own, so that its peak is its
//! own.

mod cold;
mod growth;
mod open;
mod point;
#[path = "../common/report.rs"]
mod report;
mod tables;

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use alexnet::input::{Augmentation, Dtype, Pipeline, PipelineOptions, Plan, TrainPlan};
use alexnet::recipe::settings::{AugmentSettings, OrderKind};
use alexnet::shard::{Dataset, Split};
use alexnet::synthetic::dataset::sparse_dataset;
use alexnet::trace::Tracer;
use rustix::fs::Advice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

fn main() -> ExitCode {
    // Cargo adds a `--bench` of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["open", "--measure", folder] => print_json(&open::measure(Path::new(folder))),
        ["open", ..] => open::compare(report::number("--rounds", 5)),
        ["cold", ..] => cold::compare(report::number("--rounds", 3)),
        ["growth", "--measure", folder, point] => {
            let point = serde_json::from_str(point).expect("a point");
            print_json(&point::measure(Path::new(folder), point));
        }
        ["growth", ..] => growth::measure_all(report::number("--rounds", 5)),
        _ => {
            eprintln!("usage: cargo bench --bench dataset -- open|cold|growth");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn print_json(measured: &impl Serialize) {
    println!("{}", serde_json::to_string(measured).expect("numbers"));
}

/// Runs this program again, in a process of its own, and reads what it prints.
fn measured_alone<T: DeserializeOwned>(mode: &str, folder: &Path, point: Option<String>) -> T {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([mode, "--measure"]).arg(folder).args(point);
    let output = command.output().expect("this program again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("what a measurement prints")
}

/// A sparse dataset of a thousand classes, whose headers and tables lie on the disk.
fn sparse(num_train: usize, num_val: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the dataset");
    sparse_dataset(folder.path(), num_train, num_val, 1000).expect("a sparse dataset");
    rustix::fs::syncfs(File::open(folder.path()).expect("the folder")).expect("synced");
    folder
}

/// Tells the operating system to drop the folder's files from its page cache.
fn drop_from_cache(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let file = File::open(entry.expect("an entry").path()).expect("a file");
        file.sync_all().expect("on the disk");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("dropped");
    }
}

/// The input of a training in f16 by the paper's augmentation: `num_steps`, or an epoch.
fn pipeline(
    dataset: &Arc<Dataset>,
    batch_size: usize,
    order: OrderKind,
    workers: usize,
    num_steps: Option<u64>,
) -> Pipeline {
    let num_samples = dataset.split(Split::Train).num_samples();
    let plan = TrainPlan::new(1, num_samples, batch_size, order).expect("a batch");
    let num_steps = num_steps.unwrap_or(plan.steps_per_epoch());
    let augmentation = Augmentation::new(&AugmentSettings::default(), &dataset.info().statistics);
    let (dataset, plan) = (Arc::clone(dataset), Plan::Train(plan));
    let options = PipelineOptions::new(Dtype::F16, workers, 0..num_steps);
    Pipeline::start(dataset, Split::Train, plan, augmentation, options, Tracer::default()).expect("a pipeline")
}
