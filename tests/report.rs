//! Reports and comparisons of small real runs: their numbers are those of `evaluate` and of the log, and no page needs
//! anything but itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use alexnet::backend::{Choice, DeviceChoice};
use alexnet::evaluate::{EvaluateOptions, evaluate};
use alexnet::input::NumViews;
use alexnet::report::{ReportOptions, Reported, compare, report, tensorboard};
use alexnet::shard::DatasetInfo;
use alexnet::synthetic::dataset::{coloured_dataset, sparse_dataset};
use alexnet::train::log::{self, Kind};
use alexnet::train::options::{Data, TrainOptions};
use alexnet::train::server::Address;
use alexnet::train::stop::Stop;
use alexnet::weights::Given;

/// A network of 67 x 67 inputs and the fewest channels: a step takes milliseconds.
const TINY: [&str; 6] = [
    "augment.crop=64",
    "augment.canvas=67",
    "model.width=0.05",
    "model.init=he",
    "augment.scale=0.02",
    "train.batch_size=4",
];

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(num_train: usize, num_val: usize, num_classes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        coloured_dataset(folder.path(), num_train, num_val, num_classes, 1).unwrap();
        Self { folder }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join("runs").join(name)
    }

    /// Trains, and says where the run lies.
    fn train(&self, name: &str, sets: &[&str]) -> PathBuf {
        let options = TrainOptions {
            run: Some(self.run(name)),
            sets: TINY.iter().chain(sets).map(|&set| set.to_owned()).collect(),
            metrics: Address::Off,
            log_every: 1,
            compute: Choice::of(DeviceChoice::Cpu),
            ..TrainOptions::new(Data::Shards(self.folder.path().to_path_buf()))
        };
        alexnet::train::train(&options, &Stop::default()).unwrap();
        self.run(name)
    }
}

fn options(run: &Path) -> ReportOptions {
    ReportOptions::new(run, Choice::of(DeviceChoice::Cpu))
}

fn written(options: &ReportOptions) -> (Reported, String) {
    let reported = report(options, &Stop::default()).unwrap();
    let html = std::fs::read_to_string(&reported.page).unwrap();
    assert_stands_alone(&html);
    (reported, html)
}

/// A page loads nothing, and every element that was opened is closed.
fn assert_stands_alone(html: &str) {
    for outside in ["http:", "https:", "<script", "<link rel=\"stylesheet", "src=\"/", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1).map(|tag| tag.split_once('>').expect("a tag ends").0) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        let empty = ["!DOCTYPE", "meta", "link", "img"].contains(&name) || tag.ends_with('/');
        match tag.starts_with('/') {
            true => assert_eq!(open.pop(), Some(name), "{tag}"),
            false if !empty => open.push(name),
            false => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_reports_numbers_are_those_of_evaluate_and_of_the_log() {
    let bench = Bench::new(18, 23, 7);
    let run = bench.train("plain", &["train.epochs=3"]);
    let lines = log::read(&run).unwrap();
    let validations: Vec<_> = lines.iter().filter(|line| line.kind == Kind::Validation).collect();
    let best = validations.iter().min_by(|a, b| a.top1_error.unwrap().total_cmp(&b.top1_error.unwrap())).unwrap();
    let checkpoint = run.join(format!("checkpoints/step-{:08}.safetensors", best.step));
    let evaluated = evaluate(
        &EvaluateOptions {
            shards: bench.folder.path().to_path_buf(),
            checkpoint: checkpoint.clone(),
            given: Given::default(),
            views: NumViews::One,
            limit: None,
            batch_size: 5,
            compute: Choice::of(DeviceChoice::Cpu),
            workers: None,
        },
        &Stop::default(),
    )
    .unwrap();
    let (reported, html) = written(&options(&run));
    assert_eq!(reported.page, run.join("report.html"));
    assert_eq!((reported.top1_error, reported.top5_error), (Some(evaluated.top1_error), Some(evaluated.top5_error)));
    assert_eq!(reported.top1_error, best.top1_error);
    for number in [evaluated.top1_error, evaluated.top5_error] {
        assert!(html.contains(&format!("<dd>{:.2}%</dd>", 100.0 * number)), "{number}");
    }
    assert!(html.contains(&format!("<dd>{:.4}</dd>", best.loss.unwrap())), "the loss {:?}", best.loss);
    assert!(html.contains(checkpoint.file_name().unwrap().to_str().unwrap()));
    // The images of all classes, and of the classes' table, are those of the split.
    assert!(html.contains("<dd>23</dd>") && html.matches("<tr><th scope=\"row\">colour 6</th><td").count() >= 1);
    // 12 examples, 6 rows of 7 neighbours, and mistakes.
    assert!(html.matches("data:image/jpeg;base64,").count() >= 12 + 6 * 7, "too few pictures");
    assert_eq!(html.matches("data:image/png;base64,").count(), 1, "the kernels");
    assert!(html.contains("fc7 activations"));
}

#[test]
fn the_first_images_alone_can_be_looked_at() {
    let bench = Bench::new(18, 23, 3);
    let run = bench.train("part", &["train.epochs=1"]);
    let out = bench.folder.path().join("page.html");
    let (reported, html) = written(&ReportOptions { limit: Some(9), out: Some(out.clone()), ..options(&run) });
    assert_eq!(reported.page, out);
    assert!(html.contains("the first 9 of 23 validation images"));
    let newest = run.join("checkpoints/step-00000000.safetensors");
    let (_, html) = written(&ReportOptions { checkpoint: Some(newest), ..options(&run) });
    assert!(html.contains("step-00000000.safetensors</code>, the one that was asked for"));
}

#[test]
fn names_of_classes_runs_and_recipes_are_text() {
    let bench = Bench::new(18, 7, 3);
    let mut info = DatasetInfo::read(bench.folder.path()).unwrap();
    let names = ["<b>bold&\"quoted'", "</table><script>alert(1)</script>", "plain"];
    for (class, name) in info.classes.iter_mut().zip(names) {
        class.name = name.into();
    }
    info.write(bench.folder.path()).unwrap();
    let run = bench.train("<i>&\"run", &["train.epochs=1"]);
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let named = config.replacen("name = \"alexnet\"", "name = \"<u>mine&\"", 1).replacen("the paper's", "</p><q>", 1);
    std::fs::write(run.join("config.toml"), named).unwrap();
    let (_, html) = written(&options(&run));
    for raw in ["<b>", "<script", "<i>", "<u>", "<q>"] {
        assert!(!html.contains(raw), "{raw}");
    }
    for escaped in
        ["&lt;b&gt;bold&amp;&quot;quoted&#39;", "&lt;i&gt;&amp;&quot;run", "&lt;u&gt;mine&amp;", "&lt;/p&gt;&lt;q&gt;"]
    {
        assert!(html.contains(escaped), "{escaped}");
    }
}

#[test]
fn without_shards_the_page_says_what_is_left_out_and_why() {
    let bench = Bench::new(18, 7, 3);
    let run = bench.train("moved", &["train.epochs=1"]);
    let moved = bench.folder.path().join("elsewhere");
    std::fs::create_dir(&moved).unwrap();
    for entry in std::fs::read_dir(bench.folder.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::rename(entry.path(), moved.join(entry.file_name())).unwrap();
        }
    }
    let (reported, html) = written(&options(&run));
    let missing = reported.missing.unwrap();
    assert!(missing.contains("dataset.json") && missing.contains("--shards"), "{missing}");
    assert!(html.contains("are left out") && html.contains("dataset.json") && !html.contains("image/jpeg"), "{html}");
    assert!(html.contains("image/png"), "the kernels need no images");
    let (reported, _) = written(&ReportOptions { shards: Some(moved), ..options(&run) });
    assert_eq!(reported.missing, None);
    // What was asked for is not left out silently.
    let asked = ReportOptions { shards: Some("nowhere".into()), ..options(&run) };
    assert!(report(&asked, &Stop::default()).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn a_run_that_has_just_begun_and_one_that_was_killed_can_be_reported() {
    let bench = Bench::new(18, 7, 3);
    let run = bench.train("killed", &["train.epochs=2"]);
    let log = run.join("log.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let (half, num_lines) = (text.len() - 9, text.lines().count());
    std::fs::write(&log, &text.as_bytes()[..half]).unwrap();
    assert_eq!(log::read(&run).unwrap().len(), num_lines - 1);
    assert_eq!(written(&options(&run)).0.missing, None);
    // In the first moments there is neither log nor checkpoint.
    std::fs::remove_file(log).unwrap();
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let (reported, html) = written(&options(&run));
    assert_eq!(reported.missing.as_deref(), Some("The run has no checkpoint yet."));
    assert!(html.contains("0 of 2"), "{html}");
}

#[test]
fn a_run_without_a_validation_split_is_reported_without_errors_on_images() {
    let bench = Bench::new(18, 0, 3);
    let run = bench.train("unvalidated", &["train.epochs=1", "train.schedule=steps"]);
    let (reported, html) = written(&options(&run));
    assert!(reported.missing.unwrap().contains("no validation split"));
    assert!(html.contains("Loss (cross-entropy"), "the training's curves");
}

#[test]
fn a_report_of_a_thousand_classes_stays_under_five_megabytes() {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    sparse_dataset(bench.folder.path(), 8, 1000, 1000).unwrap();
    let run = bench.train("thousand", &["train.epochs=1"]);
    // As long a log as ImageNet's.
    let line = |step: u64| {
        let fields =
            "\"top1_error\":0.5,\"top5_error\":0.25,\"images_per_second\":1234.5678,\"seconds\":1.5,\"time\":1.5";
        format!("{{\"kind\":\"step\",\"step\":{step},\"epoch\":0,\"loss\":6.9077,\"learning_rate\":0.01,{fields}}}\n")
    };
    std::fs::write(run.join("log.jsonl"), (1..=45_000).map(|step| line(10 * step)).collect::<String>()).unwrap();
    let (_, html) = written(&options(&run));
    assert!(html.contains("All 1,000 classes") && html.contains("Confusion matrix of 1000 classes"));
    assert!(html.len() < 5_000_000, "{} bytes", html.len());
}

#[test]
fn runs_are_compared_by_the_last_validations_of_their_logs() {
    let bench = Bench::new(18, 23, 7);
    let runs = ["train.seed=1", "train.seed=2"].map(|seed| bench.train(&seed[6..], &["train.epochs=2", seed]));
    let errors = runs.each_ref().map(|run| {
        let lines = log::read(run).unwrap();
        lines.iter().rev().find(|line| line.kind == Kind::Validation).unwrap().top1_error.unwrap()
    });
    let mean = errors.iter().sum::<f64>() / 2.0;
    let deviation = (errors[0] - errors[1]).abs() / 2.0_f64.sqrt();
    let output = Command::new(env!("CARGO_BIN_EXE_compare")).args(&runs).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let page = compare::page(&runs, None).unwrap();
    assert_eq!(page, bench.run("compare.html"));
    let html = std::fs::read_to_string(page).unwrap();
    assert_stands_alone(&html);
    let spread = format!("{:.2}% ± {:.2}", 100.0 * mean, 100.0 * deviation);
    let last = errors.map(|error| format!("{:.2}%", 100.0 * error));
    for expected in ["seed=1", "seed=2", "2 of 2", &spread, &last[0], &last[1]] {
        assert!(table.contains(expected) && html.contains(expected), "{expected} in:\n{table}");
    }
    assert!(html.contains("<code>train.seed</code>"));
}

#[test]
fn the_command_writes_a_page_and_says_where() {
    let bench = Bench::new(18, 7, 3);
    let run = bench.train("one", &["train.epochs=1"]);
    let command = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_report")).arg(&run).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = command(&["--device", "cpu"]);
    assert_eq!((code, stdout.trim()), (Some(0), run.join("report.html").to_str().unwrap()), "{stderr}");
    let (code, _, stderr) = command(&["--shards", "x", run.to_str().unwrap()]);
    assert!(code == Some(2) && stderr.contains("--shards"), "{stderr}");
    let output = Command::new(env!("CARGO_BIN_EXE_compare")).arg("nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("config.toml"));
}

#[test]
fn event_files_lie_in_a_folder_for_each_run() {
    let bench = Bench::new(18, 7, 3);
    let run = bench.train("logged", &["train.epochs=1"]);
    let events = bench.folder.path().join("events");
    let output =
        Command::new(env!("CARGO_BIN_EXE_report")).arg("--tensorboard").args([&events, &run]).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    assert!(path.trim().starts_with(events.join("logged/events.out.tfevents.").to_str().unwrap()), "{path}");
    assert!(!run.join("report.html").exists());
}

/// Prints the scalars of a folder's event files: tag, step, value.
const ACCUMULATE: &str = "
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
for tag in events.Tags()['scalars']:
    for scalar in events.Scalars(tag):
        print(tag, scalar.step, scalar.value)
";

#[test]
#[ignore = "needs a python3 with the package tensorboard"]
fn tensorboard_reads_the_values_of_the_log() {
    let bench = Bench::new(18, 7, 3);
    let run = bench.train("logged", &["train.epochs=2"]);
    let events = bench.folder.path().join("events");
    let folder = tensorboard::write(std::slice::from_ref(&run), &events).unwrap()[0].parent().unwrap().to_path_buf();
    let output = Command::new("python3").args(["-c", ACCUMULATE]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: BTreeMap<(String, u64), f32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            ((words[0].to_owned(), words[1].parse().unwrap()), words[2].parse().unwrap())
        })
        .collect();
    for (kind, group, num) in [(Kind::Step, "training", 8), (Kind::Validation, "validation", 2)] {
        let lines: Vec<_> = log::read(&run).unwrap().into_iter().filter(|line| line.kind == kind).collect();
        assert_eq!(lines.len(), num);
        for line in lines {
            let found = |name: &str| read.get(&(format!("{group}/{name}"), line.step)).copied();
            assert_eq!(found("loss"), line.loss.map(|loss| loss as f32), "step {}", line.step);
            assert_eq!(found("top1_error"), line.top1_error.map(|error| error as f32), "step {}", line.step);
        }
    }
}
