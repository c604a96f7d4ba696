//! What Prometheus scrapes: how fast the run goes, what it waits for, how well it learns.
//!
//! In: a [`StepObservation`] a step. Out: the text of `/metrics`. Names, types and units are in `METRICS`, once.

pub mod server;

use std::collections::BTreeMap;
use std::sync::Mutex;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;

use crate::input::stats::PipelineSnapshot;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    /// The recorder counts whole numbers, so it counts nanoseconds; the text has seconds.
    CounterOfSeconds,
    Gauge,
    Histogram,
}

/// Name, kind and help of each metric.
const METRICS: [(&str, Kind, &str); 19] = [
    ("alexnet_images_total", Kind::Counter, "Images trained on."),
    ("alexnet_steps_total", Kind::Counter, "Training steps done by this process."),
    ("alexnet_epoch", Kind::Gauge, "The epoch being trained, from 0."),
    ("alexnet_loss", Kind::Gauge, "The mean cross-entropy of the last step, in nats."),
    ("alexnet_learning_rate", Kind::Gauge, "The learning rate of the last step."),
    ("alexnet_step_seconds", Kind::Histogram, "The time of a training step, waiting for its input included."),
    ("alexnet_images_per_second", Kind::Gauge, "Images trained a second, over the last step."),
    ("alexnet_input_wait_seconds_total", Kind::CounterOfSeconds, "The trainer waited for a batch."),
    ("alexnet_buffer_wait_seconds_total", Kind::CounterOfSeconds, "The workers waited for an empty buffer."),
    ("alexnet_augment_seconds_total", Kind::CounterOfSeconds, "The workers cropped, mirrored and relit."),
    ("alexnet_upload_seconds_total", Kind::CounterOfSeconds, "Batches went to the device."),
    ("alexnet_upload_bytes_total", Kind::Counter, "Bytes of the batches that went to the device."),
    ("alexnet_compute_seconds_total", Kind::CounterOfSeconds, "The device computed steps."),
    ("alexnet_overlap_ratio", Kind::Gauge, "The share of input and upload hidden under compute, over the run."),
    ("alexnet_queue_depth", Kind::Gauge, "Batches in a queue of the input pipeline."),
    ("alexnet_bottleneck", Kind::Gauge, "1 for the stage that the last step waited for, 0 for the others."),
    ("alexnet_validation_error", Kind::Gauge, "The last error on the validation split, 0 to 1."),
    ("alexnet_skipped_images_total", Kind::Counter, "Images that could not be read when the dataset was packed."),
    ("alexnet_build_info", Kind::Gauge, "1; the labels say what is running."),
];

/// Bounds of the step-time histogram, in seconds: from an H100's 2 ms to a laptop's minutes.
const STEP_SECONDS: [f64; 16] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// A step that waits for its input longer than this share of its time is bound by the input.
const BOUND_BY_INPUT: f64 = 0.05;

/// What one step looked like.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepObservation {
    /// Images of the batch.
    pub num_images: u64,
    /// The epoch it belongs to.
    pub epoch: u32,
    /// The mean cross-entropy, in nats.
    pub loss: f64,
    /// Of all layers.
    pub learning_rate: f64,
    /// From the end of the step before to its own.
    pub step_seconds: f64,
    /// Of these, waiting for a batch.
    pub input_wait_seconds: f64,
    /// Handing the batch to the device.
    pub upload_seconds: f64,
    /// The batch's size.
    pub upload_bytes: u64,
    /// Computing.
    pub compute_seconds: f64,
}

/// What is running: the labels of `alexnet_build_info`.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// The device's name.
    pub device: String,
    /// `f32`, ...
    pub precision: String,
    /// The recipe's name.
    pub recipe: String,
}

/// The metrics of one run. Nothing is global: two runs in a process do not mix.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: Collector,
    counters: BTreeMap<&'static str, Counter>,
    gauges: BTreeMap<&'static str, Gauge>,
    step_seconds: Histogram,
    /// Threads over which the augmenting is spread.
    num_workers: usize,
    totals: Mutex<OverlapTotals>,
}

#[derive(Default)]
struct OverlapTotals {
    input_wait_seconds: f64,
    upload_seconds: f64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics at zero, for a run whose input has `num_workers` threads.
    pub fn new(build: &BuildInfo, num_skipped: u64, num_workers: usize) -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full("alexnet_step_seconds".into()), &STEP_SECONDS)
            .expect("bounds are given")
            .build_recorder();
        let (mut counters, mut gauges) = (BTreeMap::new(), BTreeMap::new());
        for (name, kind, help) in METRICS {
            let (key, help) = (KeyName::from_const_str(name), SharedString::const_str(help));
            match kind {
                Kind::Counter | Kind::CounterOfSeconds => {
                    recorder.describe_counter(key, None::<Unit>, help);
                    counters.insert(name, recorder.register_counter(&Key::from_static_name(name), &METADATA));
                }
                Kind::Gauge => {
                    recorder.describe_gauge(key, None::<Unit>, help);
                    if !LABELLED.contains(&name) {
                        gauges.insert(name, recorder.register_gauge(&Key::from_static_name(name), &METADATA));
                    }
                }
                Kind::Histogram => recorder.describe_histogram(key, None::<Unit>, help),
            }
        }
        let step_seconds = recorder.register_histogram(&Key::from_static_name("alexnet_step_seconds"), &METADATA);
        let process = Collector::default();
        metrics::with_local_recorder(&recorder, || process.describe());
        counters["alexnet_skipped_images_total"].absolute(num_skipped);
        let info = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("device", &build.device),
            ("precision", &build.precision),
            ("recipe", &build.recipe),
        ];
        let labels = info.map(|(key, value)| Label::new(key, value.to_owned()));
        let key = Key::from_parts("alexnet_build_info", labels.to_vec());
        recorder.register_gauge(&key, &METADATA).set(1.0);
        let handle = recorder.handle();
        Self { recorder, handle, process, counters, gauges, step_seconds, num_workers, totals: Mutex::default() }
    }

    /// Takes in a step, and what the input pipeline has counted since it began.
    pub fn step(&self, step: &StepObservation, input: &PipelineSnapshot) {
        self.counters["alexnet_images_total"].increment(step.num_images);
        self.counters["alexnet_steps_total"].increment(1);
        self.counters["alexnet_upload_bytes_total"].increment(step.upload_bytes);
        for (name, seconds) in [
            ("alexnet_input_wait_seconds_total", step.input_wait_seconds),
            ("alexnet_upload_seconds_total", step.upload_seconds),
            ("alexnet_compute_seconds_total", step.compute_seconds),
        ] {
            self.counters[name].increment(nanoseconds(seconds));
        }
        self.counters["alexnet_augment_seconds_total"].absolute(nanoseconds(input.augment_seconds));
        self.counters["alexnet_buffer_wait_seconds_total"].absolute(nanoseconds(input.buffer_wait_seconds));
        self.gauges["alexnet_epoch"].set(f64::from(step.epoch));
        self.gauges["alexnet_loss"].set(step.loss);
        self.gauges["alexnet_learning_rate"].set(step.learning_rate);
        self.gauges["alexnet_images_per_second"].set(step.num_images as f64 / step.step_seconds);
        self.step_seconds.record(step.step_seconds);
        self.labelled("alexnet_queue_depth", "queue", "ready", input.ready_batches as f64);
        self.labelled("alexnet_queue_depth", "queue", "empty", input.empty_buffers as f64);
        self.gauges["alexnet_overlap_ratio"].set(self.overlap(step, input.augment_seconds / self.num_workers as f64));
        let by_input = step.input_wait_seconds > BOUND_BY_INPUT * step.step_seconds;
        let by_upload = !by_input && step.upload_seconds > step.compute_seconds;
        for (stage, bound) in [("input", by_input), ("upload", by_upload), ("compute", !by_input && !by_upload)] {
            self.labelled("alexnet_bottleneck", "stage", stage, f64::from(u8::from(bound)));
        }
    }

    /// Takes in the errors of a validation, 0 to 1.
    pub fn validation(&self, top1_error: f64, top5_error: f64) {
        self.labelled("alexnet_validation_error", "top", "1", top1_error);
        self.labelled("alexnet_validation_error", "top", "5", top5_error);
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        in_seconds(&self.handle.render())
    }

    /// Folds recorded histogram values into their buckets, so that they do not pile up between scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Input work is augmenting, spread over the workers, and uploading; what the trainer did not wait for was hidden.
    fn overlap(&self, step: &StepObservation, augment_seconds: f64) -> f64 {
        let mut totals = self.totals.lock().expect("no panic while adding");
        totals.input_wait_seconds += step.input_wait_seconds;
        totals.upload_seconds += step.upload_seconds;
        let work = augment_seconds + totals.upload_seconds;
        if work > 0.0 { (1.0 - totals.input_wait_seconds / work).clamp(0.0, 1.0) } else { 1.0 }
    }

    fn labelled(&self, name: &'static str, label: &'static str, value: &'static str, number: f64) {
        let key = Key::from_parts(name, vec![Label::from_static_parts(label, value)]);
        self.recorder.register_gauge(&key, &METADATA).set(number);
    }
}

/// Gauges that exist only with their labels.
const LABELLED: [&str; 4] =
    ["alexnet_queue_depth", "alexnet_bottleneck", "alexnet_validation_error", "alexnet_build_info"];
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Turns the nanoseconds of [`Kind::CounterOfSeconds`] into seconds.
fn in_seconds(text: &str) -> String {
    let convert = |line: &str| -> Option<String> {
        let (name, value) = line.split_once(' ')?;
        METRICS.iter().find(|(known, kind, _)| *known == name && *kind == Kind::CounterOfSeconds)?;
        let nanoseconds: u64 = value.parse().ok()?;
        Some(format!("{name} {}", nanoseconds as f64 / 1e9))
    };
    text.lines().map(|line| convert(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(num_workers: usize) -> Metrics {
        let build = BuildInfo { device: "cpu".into(), precision: "f32".into(), recipe: "alexnet".into() };
        Metrics::new(&build, 3, num_workers)
    }

    #[test]
    fn every_metric_of_the_table_is_rendered_with_help_and_type() {
        let metrics = metrics(1);
        let step = StepObservation { num_images: 32, step_seconds: 0.5, ..StepObservation::default() };
        metrics.step(&step, &PipelineSnapshot::default());
        metrics.validation(0.5, 0.25);
        let text = metrics.render();
        for (name, _, help) in METRICS {
            assert!(text.contains(&format!("# HELP {name} {help}")), "{name} in {text}");
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} in {text}");
        }
        for expected in [
            "alexnet_images_total 32\n",
            "alexnet_images_per_second 64\n",
            "alexnet_skipped_images_total 3\n",
            "alexnet_step_seconds_bucket{le=\"0.5\"} 1\n",
            "alexnet_validation_error{top=\"5\"} 0.25\n",
            "alexnet_bottleneck{stage=\"compute\"} 1\n",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_cpu_seconds_total ",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn waits_are_counted_in_seconds() {
        let metrics = metrics(2);
        let step = StepObservation {
            num_images: 32,
            step_seconds: 1.0,
            input_wait_seconds: 0.25,
            compute_seconds: 0.75,
            ..StepObservation::default()
        };
        let input = PipelineSnapshot { augment_seconds: 1.0, ..PipelineSnapshot::default() };
        metrics.step(&step, &input);
        metrics.step(&step, &input);
        let text = metrics.render();
        for expected in [
            "alexnet_input_wait_seconds_total 0.5\n",
            "alexnet_compute_seconds_total 1.5\n",
            "alexnet_augment_seconds_total 1\n",
            "alexnet_bottleneck{stage=\"input\"} 1\n",
            // 0.5 s of augmenting by each of two workers, waited for during 0.5 s.
            "alexnet_overlap_ratio 0\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
