//! What Prometheus scrapes: how fast the run goes, what it waits for, how well it learns.
//!
//! In: a [`StepObservation`] a step. Out: the text of `/metrics`. A metric's name and help stand in [`Metrics::new`].

pub(crate) mod gpu;
pub(crate) mod openmetrics;
pub(crate) mod window;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;

use self::gpu::GpuWatch;
use self::window::{Totals, Window};
use crate::input::stats::PipelineSnapshot;

/// Bounds of the step-time histogram, in seconds: from an H100's 2 ms to a laptop's minutes.
const STEP_SECONDS: [f64; 16] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// A device that computes for all but this share of the time is bound by its computing.
const IDLE: f64 = 0.05;

/// What one step looked like.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepObservation {
    /// Images of the step's batch.
    pub num_images: u64,
    /// The epoch that the batch belongs to.
    pub epoch: u32,
    /// The mean cross-entropy, in nats.
    pub loss: f64,
    /// What the schedule gave for this step.
    pub learning_rate: f64,
    /// From the end of the step before to its own.
    pub step_seconds: f64,
    /// The part of `step_seconds` in which the trainer waited for a batch.
    pub input_wait_seconds: f64,
    /// How long the batch took to the device.
    pub upload_seconds: f64,
    /// The bytes of the batch that went there.
    pub upload_bytes: u64,
    /// How long the device computed.
    pub compute_seconds: f64,
}

/// How the steps of the last 10 seconds went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Images trained a second.
    pub images_per_second: f64,
    /// The share of the steps' time in which the trainer waited for a batch.
    pub input_wait_share: f64,
    /// The time that uploads took, over the steps' time; they run side by side.
    pub upload_share: f64,
    /// The share of the steps' time in which the device computed.
    pub compute_share: f64,
    /// `input`, `upload` or `compute`.
    pub bottleneck: &'static str,
}

/// What a run does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opens the dataset and the device.
    Start,
    /// Does steps.
    Train,
    /// Measures the network on the validation split.
    Validation,
    /// Writes a checkpoint.
    Checkpoint,
}

impl Phase {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Start, "start"),
        (Self::Train, "train"),
        (Self::Validation, "validation"),
        (Self::Checkpoint, "checkpoint"),
    ];
}

/// Where the time of a run went, in seconds. The sum is the run's wall time, but for its last moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunTimes {
    /// Until the first step could begin.
    pub start_seconds: f64,
    /// The steps' times, waits for their input included.
    pub step_seconds: f64,
    /// Validations, also those that were stopped.
    pub validation_seconds: f64,
    /// Reading the weights from the device and writing checkpoints.
    pub checkpoint_seconds: f64,
}

/// What is running: the labels of `alexnet_build_info`.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// As the backend describes it.
    pub device: String,
    /// `f32`, `tf32` or `bf16`.
    pub precision: String,
    /// The recipe's name.
    pub recipe: String,
}

/// The metrics of one run. Nothing is global: two runs in a process do not mix.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: Collector,
    images: Counter,
    steps: Counter,
    epoch: Gauge,
    loss: Gauge,
    learning_rate: Gauge,
    step_seconds: Histogram,
    images_per_second: Gauge,
    upload_bytes: Counter,
    overlap_ratio: Gauge,
    queue_depth: LabelledGauge,
    bottleneck: LabelledGauge,
    validation_error: LabelledGauge,
    validations_since_best: Gauge,
    phase: LabelledGauge,
    start_seconds: Gauge,
    disk_free: Gauge,
    disk_size: Gauge,
    /// The card of the run, where there is one that tells.
    gpu: OnceLock<GpuWatch>,
    measured: Mutex<Measured>,
    /// The run's folder.
    folder: PathBuf,
    /// The label `run`.
    run: String,
    /// Threads over which the augmenting is spread.
    num_workers: usize,
}

/// What is kept from step to step.
#[derive(Default)]
struct Measured {
    seconds: Seconds,
    window: Window,
    best: Option<Best>,
}

/// The lowest validation error of the run.
struct Best {
    top1_error: f64,
    num_validations_since: u32,
}

/// The counters of seconds. The recorder's counters are whole numbers, so these are kept and rendered here.
#[derive(Clone, Copy, Default)]
struct Seconds {
    /// The device's, while it did not compute.
    idle: f64,
    input_wait: f64,
    buffer_wait: f64,
    augment: f64,
    upload: f64,
    compute: f64,
    validation: f64,
    checkpoint: f64,
}

/// A gauge with one label, whose values are exposed once they are set.
struct LabelledGauge {
    name: &'static str,
    label: &'static str,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics at zero, for the run of `folder`, whose input has `num_workers` threads. The folder's name is the
    /// label `run` of every metric.
    pub fn new(build: &BuildInfo, folder: &Path, num_skipped: u64, num_workers: usize) -> Self {
        let run = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let recorder = PrometheusBuilder::new()
            .add_global_label("run", &run)
            .set_buckets_for_metric(Matcher::Full("alexnet_step_seconds".into()), &STEP_SECONDS)
            .expect("bounds are given")
            .build_recorder();
        let counter = |name: &'static str, help: &'static str| {
            recorder.describe_counter(name.into(), None, help.into());
            recorder.register_counter(&Key::from_static_name(name), &METADATA)
        };
        let gauge = |name: &'static str, help: &'static str| {
            recorder.describe_gauge(name.into(), None, help.into());
            recorder.register_gauge(&Key::from_static_name(name), &METADATA)
        };
        let labelled = |name: &'static str, label: &'static str, help: &'static str| {
            recorder.describe_gauge(name.into(), None, help.into());
            LabelledGauge { name, label }
        };
        let process = Collector::default();
        metrics::with_local_recorder(&recorder, || process.describe());
        build.expose(&recorder);
        let step_seconds = "The time of a training step, waiting for its input included.";
        recorder.describe_histogram("alexnet_step_seconds".into(), None, step_seconds.into());
        counter("alexnet_skipped_images_total", "Images that could not be read when the dataset was packed.")
            .absolute(num_skipped);
        let metrics = Self {
            images: counter("alexnet_images_total", "Images trained on."),
            steps: counter("alexnet_steps_total", "Training steps done by this process."),
            epoch: gauge("alexnet_epoch", "The epoch being trained, from 0."),
            loss: gauge("alexnet_loss", "The mean cross-entropy of the last step, in nats."),
            learning_rate: gauge("alexnet_learning_rate", "The learning rate of the last step."),
            step_seconds: recorder.register_histogram(&Key::from_static_name("alexnet_step_seconds"), &METADATA),
            images_per_second: gauge(
                "alexnet_images_per_second",
                "Images trained a second, over the last 10 seconds of steps; validations and checkpoints are left out.",
            ),
            upload_bytes: counter("alexnet_upload_bytes_total", "Bytes of the batches that went to the device."),
            overlap_ratio: gauge(
                "alexnet_overlap_ratio",
                "The share of input and upload hidden under compute, over the run.",
            ),
            queue_depth: labelled("alexnet_queue_depth", "queue", "Batches in a queue of the input pipeline."),
            bottleneck: labelled(
                "alexnet_bottleneck",
                "stage",
                "1 for the stage that bounded the last 10 seconds of steps, 0 for the others.",
            ),
            validation_error: labelled(
                "alexnet_validation_error",
                "top",
                "The last error on the validation split, 0 to 1.",
            ),
            validations_since_best: gauge(
                "alexnet_validations_since_best",
                "Validations since the one with the lowest top-1 error.",
            ),
            phase: labelled("alexnet_phase", "phase", "1 for what the run does now, 0 for the rest."),
            start_seconds: gauge("alexnet_start_seconds", "The time until the first step could begin."),
            disk_free: gauge("alexnet_disk_free_bytes", "What may still be written beside the run's folder."),
            disk_size: gauge("alexnet_disk_size_bytes", "The size of the file system of the run's folder."),
            gpu: OnceLock::new(),
            measured: Mutex::default(),
            folder: folder.to_owned(),
            run,
            num_workers,
            handle: recorder.handle(),
            process,
            recorder,
        };
        metrics.enter(Phase::Start);
        metrics
    }

    /// Exposes from now on what the card at `pci_bus_id` tells of itself. The error says why it does not.
    pub fn watch_gpu(&self, pci_bus_id: &str) -> Result<(), String> {
        let watch = GpuWatch::open(pci_bus_id, &self.recorder)?;
        assert!(self.gpu.set(watch).is_ok(), "one card for a run");
        Ok(())
    }

    /// Takes in a step, and what the input pipeline has counted since it began.
    pub fn step(&self, step: &StepObservation, input: &PipelineSnapshot) -> Pace {
        self.images.increment(step.num_images);
        self.steps.increment(1);
        self.epoch.set(f64::from(step.epoch));
        self.loss.set(step.loss);
        self.learning_rate.set(step.learning_rate);
        self.step_seconds.record(step.step_seconds);
        self.upload_bytes.increment(step.upload_bytes);
        let mut measured = self.measured.lock().expect("no panic while adding");
        let seconds = &mut measured.seconds;
        seconds.idle += Totals::from(step).idle_seconds();
        seconds.input_wait += step.input_wait_seconds;
        seconds.buffer_wait = input.buffer_wait_seconds;
        seconds.augment = input.augment_seconds;
        seconds.upload += step.upload_seconds;
        seconds.compute += step.compute_seconds;
        self.overlap_ratio.set(seconds.overlap_ratio(self.num_workers));
        let window = measured.window.add(step);
        drop(measured);
        let pace = Pace::of(&window);
        self.images_per_second.set(pace.images_per_second);
        self.queue_depth.set(&self.recorder, "ready", input.ready_batches as f64);
        self.queue_depth.set(&self.recorder, "empty", input.empty_buffers as f64);
        for stage in ["input", "upload", "compute"] {
            self.bottleneck.set(&self.recorder, stage, f64::from(u8::from(stage == pace.bottleneck)));
        }
        pace
    }

    /// The first step can begin, `seconds` after the process was asked for it.
    pub fn started(&self, seconds: f64) {
        self.start_seconds.set(seconds);
        self.enter(Phase::Train);
    }

    /// The run does something else from now on.
    pub fn enter(&self, now: Phase) {
        for (phase, name) in Phase::ALL {
            self.phase.set(&self.recorder, name, f64::from(u8::from(phase == now)));
        }
    }

    /// A validation or a checkpoint took `seconds`, and the run trains again.
    pub fn left(&self, phase: Phase, seconds: f64) {
        let mut measured = self.measured.lock().expect("no panic while adding");
        match phase {
            Phase::Validation => measured.seconds.validation += seconds,
            Phase::Checkpoint => measured.seconds.checkpoint += seconds,
            Phase::Start | Phase::Train => {}
        }
        drop(measured);
        self.enter(Phase::Train);
    }

    /// Takes in the errors of a validation, 0 to 1.
    pub fn validation(&self, top1_error: f64, top5_error: f64) {
        self.validation_error.set(&self.recorder, "1", top1_error);
        self.validation_error.set(&self.recorder, "5", top5_error);
        let mut measured = self.measured.lock().expect("no panic while adding");
        let since = match &mut measured.best {
            Some(best) if top1_error >= best.top1_error => {
                best.num_validations_since += 1;
                best.num_validations_since
            }
            best => {
                *best = Some(Best { top1_error, num_validations_since: 0 });
                0
            }
        };
        self.validations_since_best.set(f64::from(since));
    }

    /// The run resumes: its lowest top-1 error so far, and the validations since that one.
    pub fn resumed(&self, top1_error: f64, num_validations_since: u32) {
        let mut measured = self.measured.lock().expect("no panic while adding");
        measured.best = Some(Best { top1_error, num_validations_since });
        self.validations_since_best.set(f64::from(num_validations_since));
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        // A folder that is gone has no disk: the last values stay.
        if let Ok(disk) = rustix::fs::statvfs(&self.folder) {
            self.disk_free.set((disk.f_bavail * disk.f_frsize) as f64);
            self.disk_size.set((disk.f_blocks * disk.f_frsize) as f64);
        }
        if let Some(gpu) = self.gpu.get() {
            gpu.read(&self.recorder);
        }
        let seconds = self.measured.lock().expect("no panic while adding").seconds;
        self.handle.render() + &seconds.render(&self.run)
    }

    /// Folds recorded histogram values into their buckets, so that they do not pile up between scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Pace {
    fn of(window: &Totals) -> Self {
        let share = |seconds: f64| if window.step_seconds > 0.0 { seconds / window.step_seconds } else { 0.0 };
        Self {
            images_per_second: window.images_per_second(),
            input_wait_share: share(window.input_wait_seconds),
            upload_share: share(window.upload_seconds),
            compute_share: share(window.compute_seconds),
            bottleneck: bottleneck(window),
        }
    }
}

/// The stage that the device waited for. The trainer's own waits do not tell: where input and compute take equally long
/// it waits for each batch while the device computes the one before, and a faster run needs a faster device first.
fn bottleneck(window: &Totals) -> &'static str {
    let Totals { step_seconds, input_wait_seconds, upload_seconds, .. } = *window;
    let noticeable = IDLE * step_seconds;
    if window.idle_seconds() <= noticeable || input_wait_seconds.max(upload_seconds) <= noticeable {
        "compute"
    } else if upload_seconds > input_wait_seconds {
        "upload"
    } else {
        "input"
    }
}

impl BuildInfo {
    fn expose(&self, recorder: &PrometheusRecorder) {
        let info = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("device", &self.device),
            ("precision", &self.precision),
            ("recipe", &self.recipe),
        ];
        let labels = info.map(|(key, value)| Label::new(key, value.to_owned()));
        recorder.describe_gauge("alexnet_build_info".into(), None, "1; the labels say what is running.".into());
        recorder.register_gauge(&Key::from_parts("alexnet_build_info", labels.to_vec()), &METADATA).set(1.0);
    }
}

impl Seconds {
    /// Input work is augmenting, spread over the workers, and uploading; what the device did not wait for was hidden.
    fn overlap_ratio(&self, num_workers: usize) -> f64 {
        let work = self.augment / num_workers as f64 + self.upload;
        if work > 0.0 { (1.0 - self.idle / work).clamp(0.0, 1.0) } else { 1.0 }
    }

    fn render(&self, run: &str) -> String {
        let mut text = String::new();
        let run = run.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        for (name, help, seconds) in [
            ("input_wait", "The trainer waited for a batch.", self.input_wait),
            ("buffer_wait", "The workers waited for an empty buffer.", self.buffer_wait),
            ("augment", "The workers cropped, mirrored and colour-jittered.", self.augment),
            ("upload", "Batches went to the device.", self.upload),
            ("compute", "The device computed steps.", self.compute),
            ("validation", "The network was measured on the validation split.", self.validation),
            ("checkpoint", "Checkpoints were read from the device and written.", self.checkpoint),
        ] {
            let name = format!("alexnet_{name}_seconds_total");
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name}{{run=\"{run}\"}} {seconds}\n")
                .expect("memory");
        }
        text
    }
}

impl LabelledGauge {
    fn set(&self, recorder: &PrometheusRecorder, value: &'static str, number: f64) {
        let key = Key::from_parts(self.name, vec![Label::from_static_parts(self.label, value)]);
        recorder.register_gauge(&key, &METADATA).set(number);
    }
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and types that users' dashboards and alerts lean on.
    const EXPOSED: [(&str, &str); 6] = [
        ("counter", "images_total steps_total upload_bytes_total skipped_images_total input_wait_seconds_total"),
        ("counter", "buffer_wait_seconds_total augment_seconds_total upload_seconds_total compute_seconds_total"),
        ("gauge", "epoch loss learning_rate images_per_second overlap_ratio queue_depth bottleneck"),
        (
            "gauge",
            "validation_error build_info validations_since_best phase start_seconds disk_free_bytes disk_size_bytes",
        ),
        ("counter", "validation_seconds_total checkpoint_seconds_total"),
        ("histogram", "step_seconds"),
    ];

    fn metrics(num_workers: usize) -> Metrics {
        let build = BuildInfo { device: "cpu".into(), precision: "f32".into(), recipe: "alexnet".into() };
        Metrics::new(&build, Path::new("/tmp/runs/out-small-1"), 3, num_workers)
    }

    #[test]
    fn every_metric_is_exposed_with_its_help_and_type() {
        let metrics = metrics(1);
        let step = StepObservation { num_images: 32, step_seconds: 0.5, ..StepObservation::default() };
        metrics.step(&step, &PipelineSnapshot::default());
        metrics.validation(0.5, 0.25);
        let text = metrics.render();
        for (kind, names) in EXPOSED {
            for name in names.split_whitespace() {
                let kind = format!(".\n# TYPE alexnet_{name} {kind}\nalexnet_{name}");
                assert!(text.contains(&format!("# HELP alexnet_{name} ")) && text.contains(&kind), "{name} in {text}");
            }
        }
        for expected in [
            "alexnet_images_total{run=\"out-small-1\"} 32\n",
            "alexnet_images_per_second{run=\"out-small-1\"} 64\n",
            "alexnet_skipped_images_total{run=\"out-small-1\"} 3\n",
            "alexnet_step_seconds_bucket{run=\"out-small-1\",le=\"0.5\"} 1\n",
            "alexnet_validation_error{run=\"out-small-1\",top=\"5\"} 0.25\n",
            "alexnet_bottleneck{run=\"out-small-1\",stage=\"compute\"} 1\n",
            "process_resident_memory_bytes{run=\"out-small-1\"} ",
            "process_open_fds{run=\"out-small-1\"} ",
            "process_cpu_seconds_total{run=\"out-small-1\"} ",
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
            "alexnet_input_wait_seconds_total{run=\"out-small-1\"} 0.5\n",
            "alexnet_compute_seconds_total{run=\"out-small-1\"} 1.5\n",
            "alexnet_augment_seconds_total{run=\"out-small-1\"} 1\n",
            "alexnet_bottleneck{run=\"out-small-1\",stage=\"input\"} 1\n",
            // 0.5 s of augmenting by each of two workers, waited for during 0.5 s.
            "alexnet_overlap_ratio{run=\"out-small-1\"} 0\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn validations_are_counted_from_the_best() {
        let metrics = metrics(1);
        for (top1_error, since) in [(0.9, 0), (0.5, 0), (0.5, 1), (0.7, 2), (0.4, 0)] {
            metrics.validation(top1_error, 0.1);
            let expected = format!("alexnet_validations_since_best{{run=\"out-small-1\"}} {since}\n");
            assert!(metrics.render().contains(&expected), "{top1_error}: {}", metrics.render());
        }
    }

    /// Over a second of steps.
    fn bottleneck_of(input_wait: f64, upload: f64, compute: f64) -> &'static str {
        let step = StepObservation {
            num_images: 32,
            step_seconds: 1.0,
            input_wait_seconds: input_wait,
            upload_seconds: upload,
            compute_seconds: compute,
            ..StepObservation::default()
        };
        bottleneck(&Window::default().add(&step))
    }

    #[test]
    fn the_bottleneck_is_what_the_device_waited_for() {
        assert_eq!(bottleneck_of(0.5, 0.1, 0.5), "input");
        // The trainer waited while the device computed.
        assert_eq!(bottleneck_of(0.5, 0.1, 0.96), "compute");
        assert_eq!(bottleneck_of(0.0, 0.95, 0.5), "upload");
        // The device stood still, but not for want of a batch.
        assert_eq!(bottleneck_of(0.01, 0.02, 0.5), "compute");
    }
}
