//! Images a second of the input: the augmenter alone, and the whole pipeline over a dataset in the page cache.
//!
//! Each line stands beside a plain copy (`memcpy`) that reads and writes the same number of bytes, measured in turns
//! with it. `cargo bench --bench input [-- --samples 1024 --rounds 15]`

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use alexnet::input::augment::Value;
use alexnet::input::{
    Augmentation, BatchSource, Dtype, Frame, Kernel, Pipeline, PipelineOptions, Plan, TrainPlan, View,
};
use alexnet::recipe::settings::{AugmentSettings, OrderKind};
use alexnet::shard::{CHANNELS, Dataset, Split};
use bytemuck::Pod;
use half::f16;

const BATCH_SIZE: usize = 128;
/// Batches that the augmenter alone writes in turn: together larger than the caches, as the pipeline's are.
const NUM_BATCHES: usize = 2;
/// Rounds that are thrown away: page faults, and the samples' checksums.
const WARM_UP: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str, default: usize| {
        let value = arguments.iter().position(|argument| argument == name).map(|at| arguments[at + 1].parse());
        value.map_or(default, |value| value.expect("a whole number"))
    };
    let (num_samples, num_rounds) = (argument("--samples", 1024), argument("--rounds", 15));
    let dir = tempfile::tempdir().expect("a folder for the dataset");
    common::made_dataset(dir.path(), num_samples, 0, 10, 1);
    let dataset = Arc::new(Dataset::open(dir.path()).expect("the dataset just made"));
    let settings = AugmentSettings::default();
    let augmentation = Augmentation::new(&settings, &dataset.info().statistics).expect("the paper's settings");
    println!(
        "{num_samples} samples, batches of {BATCH_SIZE}, {num_rounds} rounds; images/s: median (lowest to highest)"
    );
    augmenter_alone::<f32>("f32", &dataset, &augmentation, num_rounds);
    augmenter_alone::<f16>("f16", &dataset, &augmentation, num_rounds);
    for dtype in [Dtype::F32, Dtype::F16] {
        for workers in [1, 2] {
            whole_pipeline(dtype, workers, &dataset, &augmentation, num_rounds);
        }
    }
    first_epoch(dir.path(), &augmentation, num_rounds);
}

/// One thread, all samples a round, through every kernel and a plain copy in turn.
fn augmenter_alone<V: Value + Pod>(dtype: &str, dataset: &Dataset, augmentation: &Augmentation, num_rounds: usize) {
    let (split, frame) = (dataset.split(Split::Train), augmentation.frame());
    let views: Vec<View> = (0..split.num_samples()).map(|i| augmentation.training_view(1, 0, i)).collect();
    let mut out = vec![V::ZERO; NUM_BATCHES * BATCH_SIZE * frame.num_values()];
    let mut kernels = vec![Kernel::scalar()];
    kernels.extend(Kernel::avx2());
    let mut rates = vec![Vec::new(); kernels.len() + 1];
    for round in 0..WARM_UP + num_rounds {
        for (case, rates) in rates.iter_mut().enumerate() {
            let begun = Instant::now();
            for (view, place) in views.iter().zip((0..NUM_BATCHES * BATCH_SIZE).cycle()) {
                let out = &mut out[place * frame.num_values()..][..frame.num_values()];
                let bytes = split.sample(view.sample).bytes;
                match kernels.get(case) {
                    Some(kernel) => kernel.write(bytes, dataset.mean(), view, frame, out),
                    None => copy_as_many(bytes, dataset.mean(), frame, out),
                }
                black_box(out);
            }
            if round >= WARM_UP {
                rates.push(views.len() as f64 / begun.elapsed().as_secs_f64());
            }
        }
    }
    let copy = rates[kernels.len()].clone();
    for (kernel, rates) in kernels.iter().zip(&rates) {
        report(&format!("augmenter, {}, {dtype}", kernel.name()), rates, Some(&copy));
    }
    report(&format!("memcpy of the same bytes, {dtype}"), &copy, None);
}

/// Reads as many bytes of the sample as its crop has, and writes as many as an input has; what is missing comes from
/// the mean image, which is in the cache.
fn copy_as_many<V: Pod>(bytes: &[u8], mean: &[u8], frame: Frame, out: &mut [V]) {
    let out: &mut [u8] = bytemuck::cast_slice_mut(out);
    let crop_bytes = CHANNELS * frame.crop * frame.crop;
    let (from_sample, from_mean) = out.split_at_mut(crop_bytes);
    from_sample.copy_from_slice(&bytes[..crop_bytes]);
    for chunk in from_mean.chunks_mut(mean.len()) {
        chunk.copy_from_slice(&mean[..chunk.len()]);
    }
}

/// A trainer that gives each batch back at once; an epoch a round.
fn whole_pipeline(
    dtype: Dtype,
    workers: usize,
    dataset: &Arc<Dataset>,
    augmentation: &Augmentation,
    num_rounds: usize,
) {
    let (mut pipeline, steps_per_epoch) = start(dtype, workers, dataset, augmentation);
    let mut rates = Vec::new();
    for round in 0..WARM_UP + num_rounds {
        let rate = play(&mut pipeline, steps_per_epoch);
        if round >= WARM_UP {
            rates.push(rate);
        }
    }
    report(&format!("pipeline, {workers} workers, {}", dtype.name()), &rates, None);
    let snapshot = pipeline.stats().snapshot();
    let busy = snapshot.num_images as f64 / snapshot.augment_seconds;
    println!("    a worker's own rate: {busy:.0} images/s; memory {} MB", pipeline.memory_bytes() / 1_000_000);
}

/// The dataset is opened anew each round: fresh buffers, page faults and checksums.
fn first_epoch(dir: &std::path::Path, augmentation: &Augmentation, num_rounds: usize) {
    let mut rates = Vec::new();
    for _ in 0..num_rounds {
        let dataset = Arc::new(Dataset::open(dir).expect("the dataset just made"));
        let (mut pipeline, steps_per_epoch) = start(Dtype::F16, 1, &dataset, augmentation);
        rates.push(play(&mut pipeline, steps_per_epoch));
    }
    report("pipeline, 1 worker, f16, first epoch", &rates, None);
}

fn start(dtype: Dtype, workers: usize, dataset: &Arc<Dataset>, augmentation: &Augmentation) -> (Pipeline, u64) {
    let num_samples = dataset.split(Split::Train).num_samples();
    let plan = TrainPlan::new(1, num_samples, BATCH_SIZE, OrderKind::Shuffled).expect("at least one batch");
    let steps_per_epoch = plan.steps_per_epoch();
    let options = PipelineOptions {
        dtype,
        workers,
        buffers: PipelineOptions::DEFAULT_BUFFERS,
        prefetch_steps: PipelineOptions::DEFAULT_PREFETCH_STEPS,
        steps: 0..u64::MAX,
    };
    let pipeline = Pipeline::start(Arc::clone(dataset), Split::Train, Plan::Train(plan), augmentation.clone(), options);
    (pipeline.expect("a pipeline over the dataset just made"), steps_per_epoch)
}

/// Images a second over `num_steps`.
fn play(pipeline: &mut Pipeline, num_steps: u64) -> f64 {
    let begun = Instant::now();
    for _ in 0..num_steps {
        let batch = pipeline.recv().expect("whole samples").expect("steps without end");
        pipeline.recycle(black_box(batch));
    }
    (num_steps as usize * BATCH_SIZE) as f64 / begun.elapsed().as_secs_f64()
}

fn report(name: &str, rates: &[f64], copy: Option<&[f64]>) {
    let (low, middle, high) = spread(rates);
    print!("{name:40} {middle:8.0} ({low:.0} to {high:.0})");
    if let Some(copy) = copy {
        let ratios: Vec<f64> = rates.iter().zip(copy).map(|(rate, copy)| rate / copy).collect();
        let (low, middle, high) = spread(&ratios);
        print!("  of memcpy {middle:.2} ({low:.2} to {high:.2})");
    }
    println!();
}

/// Lowest, median, highest.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}
