//! One point of the curves: a dataset, a batch size and a number of workers.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alexnet::backend::BackendOptions;
use alexnet::backend::synthetic::{Pace, SyntheticBackend};
use alexnet::bench::resources::{anonymous_bytes, cpu_seconds, peak_resident_bytes};
use alexnet::clock::Clock;
use alexnet::input::{BatchSource, Pipeline};
use alexnet::model::Network;
use alexnet::recipe::settings::{AugmentSettings, ModelSettings, OrderKind};
use alexnet::shard::Dataset;
use alexnet::trace::Tracer;
use alexnet::train::feeder::Feeder;
use alexnet::train::stepper::{Next, Stepper};
use serde::{Deserialize, Serialize};

use crate::pipeline;

/// Of a pass: a whole number of batches of every size, and less than an epoch of 10,000.
const NUM_IMAGES: usize = 9_728;
/// Steps before those that count: all buffers have been written.
const WARM_UP_STEPS: usize = 8;
/// Of the device that is put under the input; an upload takes half of a step.
const DEVICE_IMAGES_PER_SECOND: f64 = 20_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    pub num_samples: usize,
    pub batch_size: usize,
    pub workers: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub open_milliseconds: f64,
    /// The whole process, mapped tables included, when the dataset was open.
    pub open_megabytes: f64,
    /// None where a pass is more than an epoch.
    pub first_per_cpu_second: Option<f64>,
    /// Of samples that were read before, by the wall's clock and by the processors'.
    pub again_per_second: f64,
    pub again_per_cpu_second: f64,
    pub end_to_end_per_second: f64,
    /// When all batches have been written.
    pub anonymous_megabytes: f64,
    /// Mapped pages of shards included.
    pub resident_megabytes: f64,
}

/// The same steps three times: their samples for the first time, again, and around a device.
pub fn measure(folder: &Path, point: Point) -> Measured {
    let begun = Instant::now();
    let dataset = Arc::new(Dataset::open(folder).expect("a sparse dataset"));
    let open_milliseconds = 1e3 * begun.elapsed().as_secs_f64();
    let open_megabytes = megabytes(peak_resident_bytes());
    let start = || start(&dataset, point);
    let first = Pass::play(start(), point);
    let again = Pass::play(start(), point);
    // The device's weights are not the input's.
    let resident_megabytes = megabytes(peak_resident_bytes());
    Measured {
        open_milliseconds,
        open_megabytes,
        first_per_cpu_second: (point.num_samples > NUM_IMAGES).then_some(first.per_cpu_second),
        again_per_second: again.per_second,
        again_per_cpu_second: again.per_cpu_second,
        end_to_end_per_second: end_to_end(start(), point),
        anonymous_megabytes: first.anonymous_megabytes.max(again.anonymous_megabytes),
        resident_megabytes,
    }
}

fn start(dataset: &Arc<Dataset>, point: Point) -> Pipeline {
    // The order of the steps is the plan's, so that a second pass over them meets the same samples.
    pipeline(dataset, point.batch_size, OrderKind::Shuffled, point.workers, Some(num_steps(point) as u64))
}

fn num_steps(point: Point) -> usize {
    NUM_IMAGES / point.batch_size
}

/// A trainer that gives each batch back at once.
struct Pass {
    per_second: f64,
    per_cpu_second: f64,
    anonymous_megabytes: f64,
}

impl Pass {
    fn play(mut pipeline: Pipeline, point: Point) -> Self {
        let mut pass_on = |num_steps: usize| {
            for _ in 0..num_steps {
                let batch = pipeline.recv().expect("whole samples").expect("a step that was planned");
                pipeline.recycle(black_box(batch));
            }
        };
        pass_on(WARM_UP_STEPS);
        // Now, since near its end the pipeline gives buffers back that it no longer needs.
        let anonymous_megabytes = megabytes(anonymous_bytes());
        let (begun, cpu_begun) = (Instant::now(), cpu_seconds());
        let num_counted = num_steps(point) - WARM_UP_STEPS;
        pass_on(num_counted);
        let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu_begun);
        let num_images = (num_counted * point.batch_size) as f64;
        Self { per_second: num_images / seconds, per_cpu_second: num_images / cpu_seconds, anonymous_megabytes }
    }
}

/// Images a second of the trainer's step around a device of a chosen time.
fn end_to_end(pipeline: Pipeline, point: Point) -> f64 {
    let settings = ModelSettings { width: 0.05, ..ModelSettings::default() };
    let network = Network::new(&settings, AugmentSettings::default().canvas, 1000).expect("a narrow network");
    let step = Duration::from_secs_f64(point.batch_size as f64 / DEVICE_IMAGES_PER_SECOND);
    let pace = Pace { upload: step / 2, step };
    let backend = SyntheticBackend::new(&network, BackendOptions::for_evaluation(point.batch_size), pace, Clock::Wall);
    let mut stepper = Stepper::new(Box::new(backend), Feeder::new(Box::new(pipeline)), Tracer::default());
    let (last, mut begun) = (num_steps(point) - 1, Instant::now());
    for step in 0..=last {
        if step == WARM_UP_STEPS {
            begun = Instant::now();
        }
        let next = if step == last { Next::Nothing } else { Next::Feed };
        stepper.step(step as u64, next, 0.0).expect("a step of a device that cannot fail");
    }
    // As many ends of steps as beginnings lie between the two times: the last step has not been waited for.
    ((last + 1 - WARM_UP_STEPS) * point.batch_size) as f64 / begun.elapsed().as_secs_f64()
}

fn megabytes(bytes: Option<u64>) -> f64 {
    bytes.expect("the bench runs on Linux") as f64 * 1e-6
}
