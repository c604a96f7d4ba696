//! Input, upload and compute overlap: a loop around a device of chosen times takes the longest of the three, never
//! their sum. Time passes by waiting alone, so what is claimed here does not depend on the machine.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alexnet::Result;
use alexnet::backend::synthetic::{Pace, SyntheticBackend};
use alexnet::backend::{BackendOptions, DeviceTimes, Slot};
use alexnet::clock::Clock;
use alexnet::input::{Batch, BatchSource, Dtype, PipelineStats};
use alexnet::model::Network;
use alexnet::recipe::settings::ModelSettings;
use alexnet::trace::{TraceFile, Tracer};
use alexnet::train::feeder::Feeder;
use alexnet::train::metrics::{BuildInfo, Metrics};
use alexnet::train::stepper::{Next, Stepper};

const BATCH_SIZE: usize = 3;
const NUM_BUFFERS: usize = 6;
/// Steps until the buffers that were full at the beginning no longer help a slow input, and some.
const WARM_UP: u64 = 20;
const NUM_STEPS: u64 = 50;

/// Fills one batch at a time, each in `fill`, while there are empty buffers.
struct PacedSource {
    clock: Clock,
    fill: Duration,
    step: u64,
    filled: Instant,
    /// The buffers, with the times at which they became empty.
    empty: VecDeque<(Instant, Batch)>,
    stats: Arc<PipelineStats>,
}

impl PacedSource {
    fn new(clock: &Clock, fill: Duration) -> Self {
        let now = clock.now();
        let empty = (0..NUM_BUFFERS).map(|_| (now, Batch::zeros(Dtype::F16, BATCH_SIZE, 1))).collect();
        Self { clock: clock.clone(), fill, step: 0, filled: now, empty, stats: Arc::default() }
    }
}

impl BatchSource for PacedSource {
    fn recv(&mut self) -> Result<Option<Batch>> {
        let (emptied, mut batch) = self.empty.pop_front().expect("six buffers, of which the device holds two");
        self.filled = emptied.max(self.filled) + self.fill;
        self.clock.wait_until(self.filled);
        (batch.step, batch.num_valid) = (self.step, BATCH_SIZE);
        self.step += 1;
        Ok(Some(batch))
    }

    fn recycle(&mut self, batch: Batch) {
        self.empty.push_back((self.clock.now(), batch));
    }

    fn stats(&self) -> &Arc<PipelineStats> {
        &self.stats
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn stepper(clock: &Clock, fill: u64, upload: u64, step: u64, tracer: Tracer) -> Stepper {
    let settings = ModelSettings { width: 0.05, ..ModelSettings::default() };
    let network = Network::new(&settings, 67, 2).unwrap();
    let pace = Pace { upload: milliseconds(upload), step: milliseconds(step) };
    let backend = SyntheticBackend::new(&network, BackendOptions::for_evaluation(BATCH_SIZE), pace, clock.clone());
    let source = PacedSource::new(clock, milliseconds(fill));
    Stepper::new(Box::new(backend), Feeder::new(Box::new(source)).timed_by(clock), tracer)
}

/// When the device did each of the steps.
fn play(stepper: &mut Stepper, num_steps: u64) -> Vec<DeviceTimes> {
    let mut times = Vec::new();
    for step in 0..num_steps {
        if stepper.step(step, Next::Feed, 0.0).unwrap().is_some() {
            times.push(stepper.backend().device_times(Slot::of_step(step - 1)).unwrap().unwrap());
        }
    }
    times
}

#[test]
fn a_step_takes_the_longest_of_input_upload_and_compute_at_every_ratio() {
    let choices = [0, 1, 2, 3, 5, 8, 13, 21, 34];
    for fill in choices {
        for upload in choices {
            for step in choices {
                let clock = Clock::manual();
                let mut stepper = stepper(&clock, fill, upload, step, Tracer::default());
                let times = play(&mut stepper, WARM_UP + NUM_STEPS + 1);
                let (first, last) = (times[WARM_UP as usize - 1], times[(WARM_UP + NUM_STEPS) as usize - 1]);
                let expected = milliseconds(NUM_STEPS * fill.max(upload).max(step));
                let found = last.step.ended - first.step.ended;
                assert_eq!(found, expected, "{NUM_STEPS} steps of {fill} ms input, {upload} upload, {step} compute");
            }
        }
    }
}

#[test]
fn a_loop_that_waits_for_each_step_would_take_upload_and_compute_one_after_the_other() {
    // What the test above would find if the stepper waited: it can tell the two apart.
    let clock = Clock::manual();
    let mut stepper = stepper(&clock, 5, 8, 13, Tracer::default());
    let mut ends = Vec::new();
    for step in 0..WARM_UP + NUM_STEPS {
        stepper.step(step, Next::Nothing, 0.0).unwrap();
        stepper.settle().unwrap();
        ends.push(clock.now());
    }
    assert_eq!(
        ends[(WARM_UP + NUM_STEPS) as usize - 1] - ends[WARM_UP as usize - 1],
        milliseconds(NUM_STEPS * (8 + 13))
    );
}

#[test]
fn the_next_batch_goes_up_while_a_step_runs_and_never_into_a_slot_that_is_read() {
    for (fill, upload, step) in [(1, 2, 5), (2, 5, 1), (5, 2, 3), (3, 3, 3)] {
        let clock = Clock::manual();
        let times = play(&mut stepper(&clock, fill, upload, step, Tracer::default()), 40);
        for (index, pair) in times.windows(2).enumerate() {
            let [before, after] = pair else { unreachable!("windows of two") };
            assert!(before.step.ended <= after.step.begun, "steps {index} and the next one at once");
            assert!(after.upload.ended <= after.step.begun, "step {index} before its batch");
            let busiest_is_compute = step >= upload && step >= fill;
            if busiest_is_compute && index > 1 {
                assert!(after.upload.begun < before.step.ended, "step {index} hides nothing");
                assert_eq!(before.step.ended, after.step.begun, "the device stood still after step {index}");
            }
        }
        for (index, three) in times.windows(3).enumerate() {
            // Two slots: the batch after the next one takes the place of this one.
            assert!(three[0].step.ended <= three[2].upload.begun, "step {index}'s batch was overwritten");
        }
    }
}

#[test]
fn the_trace_shows_uploads_under_the_steps_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let trace = TraceFile::create(&path).unwrap();
    play(&mut stepper(&Clock::manual(), 1, 2, 5, trace.tracer()), 11);
    assert_eq!(trace.finish().unwrap().num_dropped, 0);
    let events: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let device = |name: &str, step: u64| {
        let is_it = |event: &&serde_json::Value| {
            // The trainer has an "upload" of its own: handing the batch over.
            event["name"] == name && event["args"]["step"] == step && event["tid"] != 1
        };
        let event = events.iter().find(is_it).unwrap_or_else(|| panic!("{name} {step} in {events:?}"));
        let begun = event["ts"].as_f64().unwrap();
        (begun, begun + event["dur"].as_f64().unwrap())
    };
    for step in 2..9 {
        let (step_span, next_upload) = (device("step", step), device("upload", step + 1));
        assert!(next_upload.0 < step_span.1 && step_span.0 < next_upload.1, "{step_span:?} and {next_upload:?}");
    }
}

#[test]
fn each_steps_time_is_its_own_also_where_no_step_follows() {
    let mut stepper = stepper(&Clock::manual(), 2, 3, 8, Tracer::default());
    let mut seconds = Vec::new();
    for step in 0..WARM_UP + NUM_STEPS {
        let next = if step + 1 < WARM_UP + NUM_STEPS { Next::Feed } else { Next::Nothing };
        seconds.extend(stepper.step(step, next, 0.0).unwrap().map(|settled| settled.observation.step_seconds));
    }
    seconds.extend(stepper.settle().unwrap().map(|settled| settled.observation.step_seconds));
    let steady = &seconds[WARM_UP as usize..];
    assert!(steady.iter().all(|seconds| (seconds - 0.008).abs() < 1e-9), "{steady:?}");
}

/// The stage that the metrics of a run of these times call its bottleneck.
fn bottleneck(fill: u64, upload: u64, step: u64) -> String {
    let build = BuildInfo { device: "synthetic".into(), precision: "none".into(), recipe: "alexnet".into() };
    let metrics = Metrics::new(&build, Path::new("runs/paced"), 0, 1);
    let mut stepper = stepper(&Clock::manual(), fill, upload, step, Tracer::default());
    // Longer than the window, so that the full buffers of the beginning are forgotten.
    for step in 0..3000 {
        if let Some(settled) = stepper.step(step, Next::Feed, 0.0).unwrap() {
            metrics.step(&settled.observation, &stepper.snapshot());
        }
    }
    let text = metrics.render();
    let stages = text.lines().filter_map(|line| line.strip_prefix("alexnet_bottleneck{run=\"paced\",stage=\""));
    let named: Vec<_> = stages.filter_map(|stage| stage.strip_suffix("\"} 1")).collect();
    let [stage] = named[..] else { panic!("one bottleneck, found {named:?}") };
    stage.to_owned()
}

#[test]
fn the_metrics_name_the_bottleneck_of_a_starved_a_balanced_and_a_compute_bound_run() {
    for (fill, upload, step, expected) in [
        (20, 2, 5, "input"),
        (9, 2, 8, "input"),
        (8, 8, 8, "compute"),
        (8, 3, 8, "compute"),
        (7, 3, 8, "compute"),
        (1, 2, 20, "compute"),
        (3, 9, 8, "upload"),
        (3, 20, 5, "upload"),
    ] {
        let found = bottleneck(fill, upload, step);
        assert_eq!(found, expected, "{fill} ms input, {upload} upload, {step} compute");
    }
}

#[test]
fn synthetic_losses_are_the_batchs() {
    let losses = [1, 7].map(|step_milliseconds| {
        let mut stepper = stepper(&Clock::manual(), 1, 1, step_milliseconds, Tracer::default());
        let settled = (0..5).filter_map(|step| stepper.step(step, Next::Feed, 0.0).unwrap());
        settled.map(|settled| settled.observation.loss).collect::<Vec<_>>()
    });
    assert_eq!(losses[0].len(), 4);
    assert_eq!(losses[0], losses[1], "the pace changes no loss");
}
