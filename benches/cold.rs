//! An epoch from a cold page cache: the orders of training beside a plain sequential read of the same files.
//!
//! Before each measurement the kernel is told to drop the shards from its cache, and `fincore` counts what is left.
//! `cargo bench --bench cold [-- --samples 40000 --rounds 3 --dir DIR]` (200 KB of disk a sample; a DIR is kept, and used again)

#[path = "../tests/common/sparse.rs"]
mod sparse;

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use alexnet::input::{Augmentation, BatchSource, Dtype, Pipeline, PipelineOptions, Plan, TrainPlan};
use alexnet::recipe::settings::{AugmentSettings, OrderKind};
use alexnet::shard::dataset::DATASET_FILE;
use alexnet::shard::format::{PAGE_BYTES, SAMPLE_BYTES};
use alexnet::shard::{Dataset, Split};
use rustix::fs::Advice;
use sparse::sparse_dataset;

const BATCH_SIZE: usize = 128;
const SHARD_SAMPLES: usize = 1024;
/// Of the plain read.
const BLOCK_BYTES: usize = 8 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments[at + 1].clone())
    };
    let number = |name: &str, default: usize| argument(name).map_or(default, |text| text.parse().expect("a number"));
    let (num_samples, num_rounds) = (number("--samples", 40_000), number("--rounds", 3));
    let workers = number("--workers", 2);
    let temporary = tempfile::tempdir().expect("a folder for the dataset");
    let dir = argument("--dir").map_or(temporary.path().to_path_buf(), PathBuf::from);
    if !dir.join(DATASET_FILE).exists() {
        std::fs::create_dir_all(&dir).expect("a folder for the dataset");
        make_dataset(&dir, num_samples);
    }
    let shards = shard_files(&dir);
    let num_bytes: u64 = shards.iter().map(|path| path.metadata().expect("a shard").len()).sum();
    println!("{num_samples} samples, {:.1} GB in {} shards", num_bytes as f64 * 1e-9, shards.len());
    let cases: [(&str, Option<OrderKind>); 4] = [
        ("sequential read", None),
        ("order = blocks", Some(OrderKind::Blocks)),
        ("order = shuffled", Some(OrderKind::Shuffled)),
        ("order = sequential", Some(OrderKind::Sequential)),
    ];
    let mut speeds = vec![Vec::new(); cases.len()];
    for round in 0..num_rounds {
        for ((name, order), speeds) in cases.iter().zip(&mut speeds) {
            let resident = make_cold(&shards);
            let begun = Instant::now();
            let num_bytes = match order {
                None => read_all(&shards),
                Some(order) => train(&dir, *order, workers),
            };
            let speed = num_bytes as f64 * 1e-6 / begun.elapsed().as_secs_f64();
            println!(
                "round {round}: {name:20} {speed:8.0} MB/s; {:.3} MB were in the cache before",
                resident as f64 * 1e-6
            );
            speeds.push(speed);
        }
    }
    println!("\n{:20} {:>24} {:>10} {:>24}", "", "MB/s", "images/s", "of the sequential read");
    for ((name, _), speed) in cases.iter().zip(&speeds) {
        let ratios = speed.iter().zip(&speeds[0]).map(|(speed, read)| speed / read);
        let images = median(speed.iter().copied()) * 1e6 / SAMPLE_BYTES as f64;
        println!("{name:20} {:>24} {images:>10.0} {:>24}", spread(speed.iter().copied(), 0), spread(ratios, 2));
    }
}

/// A sparse dataset, its holes filled with noise and its checksums put right.
fn make_dataset(dir: &Path, num_samples: usize) {
    let begun = Instant::now();
    let noise = |mut state: u64| {
        move || {
            // xorshift64, after Marsaglia (2003): only to be incompressible.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        }
    };
    let checksum_of = |number: usize| {
        let bytes: Vec<u8> =
            std::iter::repeat_with(noise(number as u64 + 1)).take(SAMPLE_BYTES / 8).flatten().collect();
        (crc32fast::hash(&bytes), bytes)
    };
    let info = sparse_dataset(dir, num_samples, 0, 1000, SHARD_SAMPLES, &|number| checksum_of(number).0);
    for (shard, described) in info.train.shards.iter().enumerate() {
        let file = OpenOptions::new().write(true).open(dir.join(&described.file)).expect("a shard");
        for index in 0..described.num_samples as usize {
            let (_, bytes) = checksum_of(shard * SHARD_SAMPLES + index);
            let offset = PAGE_BYTES + SAMPLE_BYTES + index * SAMPLE_BYTES;
            file.write_all_at(&bytes, offset as u64).expect("written");
        }
    }
    println!("made in {:.0} s", begun.elapsed().as_secs_f64());
}

fn shard_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut shards: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "shard")).collect();
    shards.sort();
    shards
}

/// Drops the shards from the page cache, and gives the bytes of them that stayed.
fn make_cold(shards: &[PathBuf]) -> u64 {
    for path in shards {
        let file = File::open(path).expect("a shard");
        file.sync_all().expect("on the disk");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("dropped");
    }
    let output = Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).args(shards).output();
    let text = String::from_utf8(output.expect("fincore, of util-linux").stdout).expect("numbers");
    text.split_whitespace().map(|word| word.parse::<u64>().expect("bytes")).sum()
}

/// What `cat` does, with large blocks and the kernel told so.
fn read_all(shards: &[PathBuf]) -> u64 {
    let mut block = vec![0; BLOCK_BYTES];
    let mut num_bytes = 0;
    for path in shards {
        let mut file = File::open(path).expect("a shard");
        rustix::fs::fadvise(&file, 0, None, Advice::Sequential).expect("advised");
        loop {
            let num_read = file.read(&mut block).expect("read");
            if num_read == 0 {
                break;
            }
            num_bytes += num_read as u64;
            black_box(&block);
        }
    }
    num_bytes
}

/// An epoch whose trainer gives each batch back at once. Bytes of the samples.
fn train(dir: &Path, order: OrderKind, workers: usize) -> u64 {
    let dataset = Arc::new(Dataset::open(dir).expect("the dataset just made"));
    let plan = TrainPlan::new(1, dataset.split(Split::Train).num_samples(), BATCH_SIZE, order).expect("a batch");
    let augmentation =
        Augmentation::new(&AugmentSettings::default(), &dataset.info().statistics).expect("the paper's settings");
    let num_steps = plan.steps_per_epoch();
    let options = PipelineOptions::new(Dtype::F16, workers, 0..num_steps);
    let mut pipeline =
        Pipeline::start(dataset, Split::Train, Plan::Train(plan), augmentation, options).expect("a pipeline");
    while let Some(batch) = pipeline.recv().expect("whole samples") {
        pipeline.recycle(black_box(batch));
    }
    num_steps * (BATCH_SIZE * SAMPLE_BYTES) as u64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Median (lowest to highest).
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (low, middle, high) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
}
