//! Images a second of the input: the augmenter alone, and the whole pipeline over a dataset in the page cache.
//!
//! The augmenter is measured in turns with a plain copy (`memcpy`) that reads and writes the same number of bytes.
//! Beside the wall clock stands the processor's own time, which other programs on the machine disturb less.
//! `cargo bench --bench input [-- --samples 1024 --rounds 15]`

#[path = "common/clock.rs"]
mod clock;
#[path = "common/report.rs"]
mod report;

use std::hint::black_box;
use std::sync::Arc;

use alexnet::input::augment::Value;
use alexnet::input::{
    Augmentation, Augmenter, BatchSource, Dtype, Frame, HostBuffer, Pipeline, PipelineOptions, Plan, TrainPlan, View,
};
use alexnet::recipe::settings::{AugmentSettings, OrderKind};
use alexnet::shard::{CHANNELS, Dataset, Split};
use alexnet::synthetic::dataset::coloured_dataset;
use alexnet::trace::Tracer;
use bytemuck::Pod;
use clock::{Clock, Rate};
use half::f16;
use report::{number, spread};

const BATCH_SIZE: usize = 128;
/// Batches that the augmenter alone writes in turn: together larger than the caches, as the pipeline's are.
const NUM_BATCHES: usize = 2;
/// Epochs of a round: some tenths of a second.
const NUM_EPOCHS: usize = 4;
/// Rounds that are thrown away: page faults, and the samples' checksums.
const WARM_UP: usize = 2;

fn main() {
    let (num_samples, num_rounds) = (number("--samples", 1024), number("--rounds", 15));
    let dir = tempfile::tempdir().expect("a folder for the dataset");
    coloured_dataset(dir.path(), num_samples, 0, 10, 1).expect("a synthetic dataset");
    let dataset = Arc::new(Dataset::open(dir.path()).expect("the dataset just made"));
    let settings = AugmentSettings::default();
    let augmentation = Augmentation::new(&settings, &dataset.info().statistics);
    println!("{num_samples} samples, batches of {BATCH_SIZE}, {num_rounds} rounds: median (lowest to highest)");
    println!("{:38} {:>26} {:>26} {:>20}", "", "images/s", "images per CPU second", "of memcpy, CPU");
    augmenter_alone::<f32>("f32", &dataset, &augmentation, num_rounds);
    augmenter_alone::<f16>("f16", &dataset, &augmentation, num_rounds);
    for dtype in [Dtype::F32, Dtype::F16] {
        for workers in [1, 2] {
            whole_pipeline(dtype, workers, &dataset, &augmentation, num_rounds);
        }
    }
    first_epoch(dir.path(), &augmentation, num_rounds);
}

/// One thread, all samples, through every augmenter and a plain copy in turn.
fn augmenter_alone<V: Value + Pod>(dtype: &str, dataset: &Dataset, augmentation: &Augmentation, num_rounds: usize) {
    let (split, frame) = (dataset.split(Split::Train), augmentation.frame());
    let views: Vec<View> = (0..split.num_samples()).map(|i| augmentation.training_view(1, 0, i)).collect();
    let mut out = HostBuffer::<V>::zeros(NUM_BATCHES * BATCH_SIZE * frame.num_values());
    let mut augmenters = vec![Augmenter::scalar()];
    augmenters.extend(Augmenter::avx2());
    augmenters.extend(Augmenter::avx512());
    let mut rates = vec![Vec::new(); augmenters.len() + 1];
    for round in 0..WARM_UP + num_rounds {
        for (case, rates) in rates.iter_mut().enumerate() {
            let clock = Clock::start();
            let epochs = std::iter::repeat_n(&views, NUM_EPOCHS).flatten();
            for (view, place) in epochs.zip((0..NUM_BATCHES * BATCH_SIZE).cycle()) {
                let out = &mut out[place * frame.num_values()..][..frame.num_values()];
                let bytes = split.sample(view.sample).bytes;
                match augmenters.get(case) {
                    Some(augmenter) => augmenter.write(bytes, dataset.mean(), view, frame, out),
                    None => copy_as_many(bytes, dataset.mean(), frame, out),
                }
                black_box(out);
            }
            if round >= WARM_UP {
                rates.push(clock.rate(NUM_EPOCHS * views.len()));
            }
        }
    }
    let copy = rates[augmenters.len()].clone();
    for (augmenter, rates) in augmenters.iter().zip(&rates) {
        print_row(&format!("augmenter, {}, {dtype}", augmenter.name()), rates, Some(&copy));
    }
    print_row(&format!("memcpy of the same bytes, {dtype}"), &copy, None);
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

/// A trainer that gives each batch back at once; some epochs a round.
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
        let rate = play(&mut pipeline, NUM_EPOCHS as u64 * steps_per_epoch);
        if round >= WARM_UP {
            rates.push(rate);
        }
    }
    print_row(&format!("pipeline, {workers} workers, {}", dtype.name()), &rates, None);
}

/// The dataset is opened anew each round: fresh buffers, page faults and checksums.
fn first_epoch(dir: &std::path::Path, augmentation: &Augmentation, num_rounds: usize) {
    let mut rates = Vec::new();
    for _ in 0..num_rounds {
        let dataset = Arc::new(Dataset::open(dir).expect("the dataset just made"));
        let (mut pipeline, steps_per_epoch) = start(Dtype::F16, 1, &dataset, augmentation);
        rates.push(play(&mut pipeline, steps_per_epoch));
    }
    print_row("pipeline, 1 worker, f16, first epoch", &rates, None);
}

fn start(dtype: Dtype, workers: usize, dataset: &Arc<Dataset>, augmentation: &Augmentation) -> (Pipeline, u64) {
    let num_samples = dataset.split(Split::Train).num_samples();
    let plan = TrainPlan::new(1, num_samples, BATCH_SIZE, OrderKind::Shuffled).expect("at least one batch");
    let steps_per_epoch = plan.steps_per_epoch();
    let (dataset, plan, augmentation) = (Arc::clone(dataset), Plan::Train(plan), augmentation.clone());
    let options = PipelineOptions::new(dtype, workers, 0..u64::MAX);
    let pipeline = Pipeline::start(dataset, Split::Train, plan, augmentation, options, Tracer::default());
    (pipeline.expect("a pipeline over the dataset just made"), steps_per_epoch)
}

/// Images a second over `num_steps`.
fn play(pipeline: &mut Pipeline, num_steps: u64) -> Rate {
    let clock = Clock::start();
    for _ in 0..num_steps {
        let batch = pipeline.recv().expect("whole samples").expect("steps without end");
        pipeline.recycle(black_box(batch));
    }
    clock.rate(num_steps as usize * BATCH_SIZE)
}

fn print_row(name: &str, rates: &[Rate], copy: Option<&[Rate]>) {
    let wall = spread(rates.iter().map(|rate| rate.wall), 0);
    let cpu = spread(rates.iter().map(|rate| rate.cpu), 0);
    let ratio = copy.map(|copy| spread(rates.iter().zip(copy).map(|(rate, copy)| rate.cpu / copy.cpu), 2));
    println!("{name:38} {wall:>26} {cpu:>26} {:>20}", ratio.unwrap_or_default());
}
