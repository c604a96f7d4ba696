//! An epoch from a cold page cache. `fincore` counts what the cache has left before each measurement.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use alexnet::input::BatchSource;
use alexnet::recipe::settings::OrderKind;
use alexnet::shard::Dataset;
use alexnet::shard::dataset::DATASET_FILE;
use alexnet::shard::format::SAMPLE_BYTES;
use alexnet::synthetic::dataset::coloured_dataset;
use rustix::fs::Advice;

use crate::report::{argument, number, sorted, spread};
use crate::{drop_from_cache, pipeline};

const BATCH_SIZE: usize = 128;
/// The plain read's blocks.
const BLOCK_BYTES: usize = 8 << 20;

pub fn compare(num_rounds: usize) {
    let (num_samples, workers) = (number("--samples", 40_000), number("--workers", 2));
    let temporary = tempfile::tempdir().expect("a folder for the dataset");
    let dir = argument("--dir").map_or(temporary.path().to_path_buf(), PathBuf::from);
    if !dir.join(DATASET_FILE).exists() {
        std::fs::create_dir_all(&dir).expect("a folder for the dataset");
        let begun = Instant::now();
        // Noise, since a disk or a file system may compress or leave out zeros.
        coloured_dataset(&dir, num_samples, 0, 1000, 1).expect("a synthetic dataset");
        println!("made in {:.0} s", begun.elapsed().as_secs_f64());
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
            drop_from_cache(&dir);
            let resident = resident_bytes(&shards);
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
        let images = sorted(speed.iter().copied())[speed.len() / 2] * 1e6 / SAMPLE_BYTES as f64;
        println!("{name:20} {:>24} {images:>10.0} {:>24}", spread(speed.iter().copied(), 0), spread(ratios, 2));
    }
}

fn shard_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut shards: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "shard")).collect();
    shards.sort();
    shards
}

/// The bytes of the shards that the page cache holds.
fn resident_bytes(shards: &[PathBuf]) -> u64 {
    let output = Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).args(shards).output();
    let text = String::from_utf8(output.expect("fincore, of util-linux").stdout).expect("numbers");
    text.split_whitespace().map(|word| word.parse::<u64>().expect("bytes")).sum()
}

/// What `cat` does, with large blocks and the operating system told so.
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

/// An epoch whose trainer gives each batch back at once. Returns the bytes of its samples.
fn train(dir: &Path, order: OrderKind, workers: usize) -> u64 {
    let dataset = Arc::new(Dataset::open(dir).expect("the dataset just made"));
    let mut pipeline = pipeline(&dataset, BATCH_SIZE, order, workers, None);
    let mut num_bytes = 0;
    while let Some(batch) = pipeline.recv().expect("whole samples") {
        pipeline.recycle(black_box(batch));
        num_bytes += (BATCH_SIZE * SAMPLE_BYTES) as u64;
    }
    num_bytes
}
