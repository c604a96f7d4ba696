//! How input grows: its speed and its memory by workers, by batch size and by the number of samples.
//!
//! The datasets are sparse: samples are holes, which the kernel makes pages of zeros of when they are first read, so that a
//! million samples need no disk. Each point is a process of its own, and the points take turns.
//! `cargo bench --bench growth [-- --rounds 5]` prints the tables of a record;
//! `cargo bench --bench growth -- --draw RECORD.md docs/images` draws the curves of one.

mod chart;
mod point;
#[path = "../../tests/common/sparse.rs"]
mod sparse;
mod tables;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use point::{Measured, Point};
use sparse::{hole_checksum, sparse_dataset};
use tempfile::TempDir;

/// The last is ImageNet's.
const NUM_SAMPLES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 1_281_167];
const BATCH_SIZES: [usize; 6] = [16, 32, 64, 128, 256, 512];
const NUM_WORKERS: [usize; 3] = [1, 2, 4];
/// What does not grow where something else does.
const USUAL: Point = Point { num_samples: 10_000, batch_size: 128, workers: 2 };
const NUM_CLASSES: usize = 1000;
const SHARD_SAMPLES: usize = 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|argument| argument == name).map(|at| &arguments[at + 1..]);
    if let Some([folder, point, ..]) = after("--measure") {
        let point = serde_json::from_str(point).expect("a point");
        println!("{}", serde_json::to_string(&point::measure(Path::new(folder), point)).expect("numbers"));
    } else if let Some([record, folder, ..]) = after("--draw") {
        chart::draw_all(&std::fs::read_to_string(record).expect("a record"), Path::new(folder));
    } else {
        let rounds = after("--rounds").map_or(5, |rounds| rounds[0].parse().expect("a whole number"));
        measure_all(rounds);
    }
}

/// The three ways to grow; the usual point lies on all of them.
fn points() -> Vec<Point> {
    let workers = NUM_WORKERS.map(|workers| Point { workers, ..USUAL });
    let batch_sizes = BATCH_SIZES.map(|batch_size| Point { batch_size, ..USUAL });
    let num_samples = NUM_SAMPLES.map(|num_samples| Point { num_samples, ..USUAL });
    let mut points = [&workers[..], &batch_sizes, &num_samples].concat();
    points.sort();
    points.dedup();
    points
}

fn measure_all(num_rounds: usize) {
    let datasets = BTreeMap::from(NUM_SAMPLES.map(|num_samples| (num_samples, make_dataset(num_samples))));
    let mut measured: BTreeMap<Point, Vec<Measured>> = BTreeMap::new();
    // The first round does not count: the host of a virtual machine gives it memory when it is first touched.
    for round in 0..=num_rounds {
        for point in points() {
            let folder = datasets[&point.num_samples].path();
            let found = measure_alone(folder, point);
            // At once, so that the next point's pages are those that this one had.
            drop_from_cache(folder);
            if round > 0 {
                measured.entry(point).or_default().push(found);
            }
        }
        eprintln!("round {round} of {num_rounds} is done");
    }
    let row = |point: Point| (point, measured[&point].as_slice());
    println!("{num_rounds} rounds: median (lowest to highest)");
    println!(
        "\n{}",
        tables::speed("workers", &NUM_WORKERS.map(|workers| (workers, row(Point { workers, ..USUAL }).1)))
    );
    let batch_sizes = BATCH_SIZES.map(|batch_size| (batch_size, row(Point { batch_size, ..USUAL }).1));
    println!("{}", tables::speed("batch size", &batch_sizes));
    let num_samples = NUM_SAMPLES.map(|num_samples| (num_samples, row(Point { num_samples, ..USUAL }).1));
    println!("{}", tables::speed("samples", &num_samples));
    println!("{}", tables::opening("samples when opened", &num_samples));
}

fn make_dataset(num_samples: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the dataset");
    let hole = hole_checksum();
    sparse_dataset(folder.path(), num_samples, 0, NUM_CLASSES, SHARD_SAMPLES, &|_| hole);
    rustix::fs::syncfs(File::open(folder.path()).expect("the folder")).expect("synced");
    folder
}

/// In a process of its own, so that its peak is its own.
fn measure_alone(folder: &Path, point: Point) -> Measured {
    let program = std::env::current_exe().expect("this program");
    let point = serde_json::to_string(&point).expect("numbers");
    let output = Command::new(program).arg("--measure").arg(folder).arg(point).output().expect("this program again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("what a point prints")
}

fn drop_from_cache(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let file = File::open(entry.expect("an entry").path()).expect("a file");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
    }
}
