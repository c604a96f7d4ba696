//! Whole runs: what is counted adds up, and all records of a run tell the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::Live;
use super::log::{Kind, Line};
use super::metrics::window::WINDOW_SECONDS;
use super::metrics::{Metrics, RunTimes};
use super::options::{Data, Start, TrainOptions};
use super::server::Address;
use super::stop::Stop;
use super::trainer::Outcome;
use super::{log, train_observed};
use crate::backend::synthetic::Pace;
use crate::backend::{Choice, DeviceChoice};
use crate::synthetic::dataset::coloured_dataset;

/// The bound for what a run's parts may miss of its wall time: the first line of the log, the last line's
/// printing, and the end of the threads.
const UNCOUNTED: f64 = 0.01;

/// A run, as its records tell it.
struct Recorded {
    outcome: Outcome,
    wall_seconds: f64,
    lines: Vec<Line>,
    metrics: String,
    live: Arc<Live>,
    /// Sums of the trace's spans by name, in seconds.
    trace: Box<dyn Fn(&str) -> f64>,
}

fn run(device: DeviceChoice, epochs: u32) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    std::fs::create_dir(&shards).unwrap();
    coloured_dataset(&shards, 40, 8, 4, 1).unwrap();
    let trace = folder.path().join("trace.json");
    let sets = ["model.width=0.05", "augment.crop=64", "augment.canvas=67", "train.batch_size=4"];
    let options = TrainOptions {
        run: Some(folder.path().join("run")),
        recipe: Some("small".into()),
        sets: sets.iter().map(|set| (*set).to_owned()).chain([format!("train.epochs={epochs}")]).collect(),
        compute: Choice::of(device),
        checkpoint_every: Some(7),
        log_every: 1,
        metrics: Address::Off,
        trace: Some(trace.clone()),
        ..TrainOptions::new(Data::Shards(shards))
    };
    let mut observed: Option<(Arc<Metrics>, Arc<Live>)> = None;
    let begun = Instant::now();
    let observe = |metrics: &Arc<Metrics>, live: &Arc<Live>| observed = Some((Arc::clone(metrics), Arc::clone(live)));
    let outcome = train_observed(&options, &Stop::default(), observe).unwrap();
    let wall_seconds = begun.elapsed().as_secs_f64();
    let events: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    let trace = move |name: &str| {
        let spans = events.iter().filter(|event| event["name"] == name);
        spans.filter_map(|span| span["dur"].as_f64()).sum::<f64>() / 1e6
    };
    let lines = log::read(&folder.path().join("run")).unwrap();
    let (metrics, live) = observed.unwrap();
    Recorded { outcome, wall_seconds, lines, metrics: metrics.render(), live, trace: Box::new(trace) }
}

impl Recorded {
    fn metric(&self, name: &str) -> f64 {
        let sample = |line: &str| {
            let (key, value) = line.rsplit_once(' ')?;
            (key.replace("run=\"run\",", "").replace("{run=\"run\"}", "") == name).then(|| value.parse().ok())?
        };
        self.metrics.lines().find_map(sample).unwrap_or_else(|| panic!("{name} in {}", self.metrics))
    }

    fn lines(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.kind == kind)
    }

    /// The steps' images a second in the last lines that make a window.
    fn logged_rate(&self) -> f64 {
        let (mut num_images, mut seconds) = (0.0, 0.0);
        for line in self.lines(Kind::Step).rev() {
            if seconds >= WINDOW_SECONDS {
                break;
            }
            num_images += 4.0;
            seconds += line.seconds.unwrap();
        }
        num_images / seconds
    }
}

/// The page's numbers are those of the log.
fn assert_page(recorded: &Recorded) {
    recorded.live.refresh();
    let page = recorded.live.fragments();
    let has = |id: &str, expected: &str| assert!(page[id].contains(expected), "{expected} in {id}: {}", page[id]);
    let last = recorded.lines(Kind::Step).next_back().unwrap();
    has("progress", &format!("<b>Ended</b> · step {0} of {0} · epoch {1} ", last.step, last.epoch));
    has("title", "100% ended · run");
    // Of the last steps, as many as a running mean covers.
    let running = |value: fn(&Line) -> Option<f64>| {
        let steps: Vec<f64> = recorded.lines(Kind::Step).rev().take(20).map(|line| value(line).unwrap()).collect();
        steps.iter().sum::<f64>() / steps.len() as f64
    };
    has("numbers", &format!("<dd>{:.3}</dd>", running(|line| line.loss)));
    has("numbers", &format!("<dd>{:.1}%</dd>", 100.0 * running(|line| line.top1_error)));
    has("numbers", &format!("<dd>{}</dd>", last.learning_rate.unwrap()));
    let validations = || recorded.lines(Kind::Validation).map(|line| 100.0 * line.top1_error.unwrap());
    has("numbers", &format!("<dd>{:.1}%</dd>", validations().next_back().unwrap()));
    has("numbers", &format!("best {:.1}%", validations().fold(f64::INFINITY, f64::min)));
    for (train, validation) in recorded.lines(Kind::Epoch).rev().zip(recorded.lines(Kind::Validation).rev()).take(10) {
        let row = format!(
            "<th class=\"number\" scope=\"row\">{}</th><td class=\"number\">{:.3}</td><td class=\"number\">{:.1}%</td>\
             <td class=\"number\">{:.3}</td><td class=\"number\">{:.1}%",
            train.epoch,
            train.loss.unwrap(),
            100.0 * train.top1_error.unwrap(),
            validation.loss.unwrap(),
            100.0 * validation.top1_error.unwrap()
        );
        has("epochs", &row);
    }
    has("events", "began");
    has("kernels", &format!("After step {}", last.step));
}

fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs(), "{what}: {found}, expected {expected}");
}

fn assert_true(recorded: &Recorded) {
    let RunTimes { start_seconds, step_seconds, validation_seconds, checkpoint_seconds } = recorded.outcome.times;
    let counted = start_seconds + step_seconds + validation_seconds + checkpoint_seconds;
    let times = format!("{:?}", recorded.outcome.times);
    assert_near(counted, recorded.wall_seconds, UNCOUNTED, &times);

    // The log, the trace and the metrics tell these times. Sums of the same numbers in another order differ by
    // rounding; the trace has whole microseconds, and leaves out looking for old checkpoints.
    let logged = |kind| recorded.lines(kind).map(|line| line.seconds.unwrap()).sum::<f64>();
    for (found, expected, tolerance, what) in [
        (logged(Kind::Step), step_seconds, 1e-9, "steps in the log"),
        (logged(Kind::Epoch), step_seconds, 1e-9, "epochs in the log"),
        (logged(Kind::Validation), validation_seconds, 1e-9, "validations in the log"),
        (recorded.metric("alexnet_step_seconds_sum"), step_seconds, 1e-9, "the histogram's sum"),
        (recorded.metric("alexnet_validation_seconds_total"), validation_seconds, 1e-9, "validations"),
        (recorded.metric("alexnet_checkpoint_seconds_total"), checkpoint_seconds, 1e-9, "checkpoints"),
        (recorded.metric("alexnet_start_seconds"), start_seconds, 1e-9, "the start"),
        ((recorded.trace)("validation"), validation_seconds, 0.01, "validations in the trace"),
        ((recorded.trace)("checkpoint"), checkpoint_seconds, 0.05, "checkpoints in the trace"),
    ] {
        assert_near(found, expected, tolerance, what);
    }
    // A device computes within its steps.
    let computed = (recorded.trace)("step");
    assert!(computed > 0.0 && computed < 1.001 * step_seconds, "{computed} s of {step_seconds} s");

    let last = recorded.lines(Kind::Step).next_back().unwrap();
    let validation = recorded.lines(Kind::Validation).next_back().unwrap();
    for (name, expected) in [
        ("alexnet_steps_total", last.step as f64),
        ("alexnet_images_total", 4.0 * last.step as f64),
        ("alexnet_epoch", f64::from(last.epoch)),
        ("alexnet_loss", last.loss.unwrap()),
        ("alexnet_learning_rate", last.learning_rate.unwrap()),
        ("alexnet_validation_error{top=\"1\"}", validation.top1_error.unwrap()),
        ("alexnet_validation_error{top=\"5\"}", validation.top5_error.unwrap()),
        ("alexnet_step_seconds_count", last.step as f64),
    ] {
        assert_near(recorded.metric(name), expected, 1e-9, name);
    }
    // The window may hold a tenth of a second more than ten.
    assert_near(recorded.metric("alexnet_images_per_second"), recorded.logged_rate(), 0.02, "the rate");
}

#[test]
fn steps_validations_and_checkpoints_make_up_the_wall_time_on_a_cpu() {
    let recorded = run(DeviceChoice::Cpu, 60);
    assert!(recorded.wall_seconds > 1.0, "too short to tell: {} s", recorded.wall_seconds);
    assert_true(&recorded);
    assert_page(&recorded);
}

#[test]
fn steps_validations_and_checkpoints_make_up_the_wall_time_on_a_device_that_returns_at_once() {
    let pace = Pace { upload: Duration::from_millis(2), step: Duration::from_millis(20) };
    let recorded = run(DeviceChoice::Synthetic(pace), 12);
    assert_true(&recorded);
    // 120 steps of 20 ms: no rate can be above the device's.
    assert!(recorded.metric("alexnet_images_per_second") <= 4.0 / 0.020 * 1.001);
}

#[test]
fn a_resumed_run_counts_validations_from_the_best_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    std::fs::create_dir(&shards).unwrap();
    coloured_dataset(&shards, 8, 8, 4, 1).unwrap();
    let sets = ["model.width=0.05", "augment.crop=64", "augment.canvas=67", "train.batch_size=4"];
    let mut options = TrainOptions {
        run: Some(folder.path().join("run")),
        recipe: Some("small".into()),
        sets: sets.map(str::to_owned).into(),
        steps: Some(10),
        compute: Choice::of(DeviceChoice::Cpu),
        metrics: Address::Off,
        ..TrainOptions::new(Data::Shards(shards))
    };
    train_observed(&options, &Stop::default(), |_, _| ()).unwrap();
    let lines = log::read(&folder.path().join("run")).unwrap();
    let errors: Vec<f64> =
        lines.iter().filter(|line| line.kind == Kind::Validation).map(|line| line.top1_error.unwrap()).collect();
    assert_eq!(errors.len(), 5);
    let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let since = errors.len() - 1 - errors.iter().position(|error| *error == best).unwrap();
    assert!(since > 0, "the last validation is the best, and tells nothing: {errors:?}");
    (options.start, options.steps) = (Start::Resume, Some(11));
    let expected = format!("alexnet_validations_since_best{{run=\"run\"}} {since}\n");
    let observe =
        |metrics: &Arc<Metrics>, _: &Arc<Live>| assert!(metrics.render().contains(&expected), "{}", metrics.render());
    train_observed(&options, &Stop::default(), observe).unwrap();
}
