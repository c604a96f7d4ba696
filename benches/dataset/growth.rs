//! How input grows, by workers, by batch size and by the number of samples. The points take turns.

use std::collections::BTreeMap;

use crate::point::{Measured, Point};
use crate::{drop_from_cache, measured_alone, sparse, tables};

/// The last is ImageNet's.
const NUM_SAMPLES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 1_281_167];
const BATCH_SIZES: [usize; 6] = [16, 32, 64, 128, 256, 512];
const NUM_WORKERS: [usize; 3] = [1, 2, 4];
/// What does not grow where something else does.
const USUAL: Point = Point { num_samples: 10_000, batch_size: 128, workers: 2 };

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

pub fn measure_all(num_rounds: usize) {
    let datasets = BTreeMap::from(NUM_SAMPLES.map(|num_samples| (num_samples, sparse(num_samples, 0))));
    let mut measured: BTreeMap<Point, Vec<Measured>> = BTreeMap::new();
    // The first round does not count: the host of a virtual machine gives it memory when it is first touched.
    for round in 0..=num_rounds {
        for point in points() {
            let folder = datasets[&point.num_samples].path();
            let json = serde_json::to_string(&point).expect("numbers");
            let found = measured_alone("growth", folder, Some(json));
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
