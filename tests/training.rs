//! Whole training runs through the library, on small synthetic datasets: what a run leaves behind, and that stopping,
//! resuming and the number of threads change nothing.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use alexnet::backend::Choice;
use alexnet::synthetic::dataset::coloured_dataset;
use alexnet::train::checkpoint::{self, Checkpoint};
use alexnet::train::log::{self, Kind};
use alexnet::train::options::{Data, Start, TrainOptions};
use alexnet::train::server::Address;
use alexnet::train::stop::Stop;
use alexnet::train::trainer::{Ended, Outcome};

/// A network of 67 x 67 inputs and the fewest channels: a step takes milliseconds.
const TINY: [&str; 7] = [
    "augment.crop=64",
    "augment.canvas=67",
    "model.width=0.05",
    "model.init=he",
    "augment.scale=0.02",
    "train.batch_size=4",
    "train.epochs=3",
];

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// 18 training images in 3 classes: 4 steps an epoch and 2 images left over; 7 validation images.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        coloured_dataset(folder.path(), 18, 7, 3, 1).unwrap();
        Self { folder }
    }

    fn options(&self, run: &str, sets: &[&str]) -> TrainOptions {
        TrainOptions {
            run: Some(self.run(run)),
            sets: TINY.iter().chain(sets).map(|&set| set.to_owned()).collect(),
            metrics: Address::Off,
            log_every: 1,
            ..TrainOptions::new(Data::Shards(self.folder.path().to_path_buf()))
        }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join("runs").join(name)
    }
}

fn train(options: &TrainOptions) -> Outcome {
    alexnet::train::train(options, &Stop::default()).unwrap()
}

fn refused(options: &TrainOptions) -> String {
    alexnet::train::train(options, &Stop::default()).unwrap_err().to_string()
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn newest(outcome: &Outcome) -> Checkpoint {
    checkpoint::read::read(outcome.checkpoint.as_ref().unwrap()).unwrap()
}

#[test]
fn a_run_leaves_what_the_contract_names() {
    let bench = Bench::new();
    let outcome = train(&TrainOptions { keep: 1, ..bench.options("plain", &[]) });
    assert_eq!((outcome.step, outcome.ended), (12, Ended::Done));
    let run = bench.run("plain");
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("batch_size = 4") && config.contains("[run]"), "{config}");
    let lines = log::read(&run).unwrap();
    let steps_of = |kind| lines.iter().filter(|line| line.kind == kind).map(|line| line.step).collect::<Vec<_>>();
    assert_eq!(steps_of(Kind::Step), (1..=12).collect::<Vec<_>>());
    assert_eq!(steps_of(Kind::Epoch), [4, 8, 12]);
    assert_eq!(steps_of(Kind::Validation), [4, 8, 12]);
    let step = lines.iter().find(|line| line.kind == Kind::Step).unwrap();
    assert!(step.loss.is_some() && step.learning_rate == Some(0.01) && step.images_per_second.is_some());
    let kept: Vec<u64> = checkpoint::list(&run.join("checkpoints")).unwrap().into_iter().map(|kept| kept.0).collect();
    let best = newest(&outcome).state.schedule.best_step;
    assert!(kept.first() == Some(&0) && kept.last() == Some(&12) && kept.contains(&best), "{kept:?}, best {best}");
    assert!(kept.len() <= 3, "{kept:?}");
    assert_eq!(newest(&outcome).state.epoch, 3);
}

#[test]
fn a_run_stopped_at_any_step_and_resumed_equals_one_that_never_stopped() {
    let bench = Bench::new();
    let whole = train(&bench.options("whole", &[]));
    let expected = bytes(whole.checkpoint.as_ref().unwrap());
    for (stop_at, workers) in [(1, 1), (3, 2), (4, 3), (7, 1), (11, 5)] {
        let name = format!("stopped-{stop_at}");
        let options = TrainOptions { workers: Some(workers), ..bench.options(&name, &[]) };
        let part = train(&TrainOptions { steps: Some(stop_at), ..options.clone() });
        assert_eq!(part.step, stop_at);
        let resumed = train(&TrainOptions { start: Start::Resume, workers: Some(1), ..options });
        assert_eq!(resumed.step, 12);
        assert!(bytes(resumed.checkpoint.as_ref().unwrap()) == expected, "stopped at {stop_at}");
        let lines = log::read(&bench.run(&name)).unwrap();
        let steps: Vec<u64> = lines.iter().filter(|line| line.kind == Kind::Step).map(|line| line.step).collect();
        assert_eq!(steps, (1..=12).collect::<Vec<_>>(), "stopped at {stop_at}");
    }
}

#[test]
fn a_run_killed_after_its_checkpoint_resumes_from_it() {
    let bench = Bench::new();
    let expected = bytes(train(&bench.options("whole", &[])).checkpoint.as_ref().unwrap());
    let options = TrainOptions { checkpoint_every: Some(3), keep: 10, ..bench.options("killed", &[]) };
    train(&TrainOptions { steps: Some(8), ..options.clone() });
    // As if the process had died after step 8 with step 6 as its newest checkpoint.
    std::fs::remove_file(bench.run("killed").join("checkpoints/step-00000008.safetensors")).unwrap();
    let resumed = train(&TrainOptions { start: Start::Resume, ..options });
    assert!(bytes(resumed.checkpoint.as_ref().unwrap()) == expected);
    let lines = log::read(&bench.run("killed")).unwrap();
    assert_eq!(lines.iter().filter(|line| line.kind == Kind::Validation).count(), 3);
}

#[test]
fn workers_and_threads_do_not_change_a_bit() {
    let bench = Bench::new();
    let runs = [(1, 1), (2, 2), (5, 3)].map(|(workers, threads)| {
        let options = bench.options(&format!("threads-{threads}"), &[]);
        let compute = Choice { threads: NonZeroUsize::new(threads), ..options.compute };
        let outcome = train(&TrainOptions { workers: Some(workers), compute, ..options });
        bytes(outcome.checkpoint.as_ref().unwrap())
    });
    assert!(runs[0] == runs[1] && runs[1] == runs[2]);
}

#[test]
fn a_stop_asked_for_before_the_first_step_leaves_step_zero() {
    let bench = Bench::new();
    let stop = Stop::default();
    stop.request();
    let outcome = alexnet::train::train(&bench.options("asked", &[]), &stop).unwrap();
    assert_eq!((outcome.step, outcome.ended), (0, Ended::Stopped));
    assert!(outcome.checkpoint.unwrap().ends_with("checkpoints/step-00000000.safetensors"));
}

#[test]
fn a_tiny_network_overfits_thirty_two_images() {
    let folder = tempfile::tempdir().unwrap();
    coloured_dataset(folder.path(), 32, 4, 4, 2).unwrap();
    let bench = Bench { folder };
    let sets = [
        "train.batch_size=32",
        "train.epochs=100",
        "model.dropout=0",
        "augment.mirror=false",
        "augment.position=centre",
        "augment.lighting=0",
        // The error is soon 0 and cannot improve; the loss can.
        "train.schedule=steps",
        "train.drop_epochs=[]",
        "train.learning_rate=0.005",
    ];
    train(&bench.options("by-heart", &sets));
    let lines = log::read(&bench.run("by-heart")).unwrap();
    let last = lines.iter().rev().find(|line| line.kind == Kind::Step).unwrap();
    assert!(last.loss.unwrap() < 0.01, "loss {:?}", last.loss);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint() {
    let bench = Bench::new();
    let message = refused(&bench.options("diverges", &["train.learning_rate=900", "augment.scale=10"]));
    assert!(message.contains("not finite") || message.contains("the loss is"), "{message}");
    assert!(message.contains("train.learning_rate"), "{message}");
    let kept = checkpoint::list(&bench.run("diverges").join("checkpoints")).unwrap();
    assert!(!kept.is_empty());
    for (_, path) in kept {
        let checkpoint = checkpoint::read::read(&path).unwrap();
        assert!(checkpoint.parameters.values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn a_checkpoint_gives_its_weights_to_a_new_run() {
    let bench = Bench::new();
    let first = train(&bench.options("first", &[]));
    let path = first.checkpoint.clone().unwrap();
    let options = bench.options("second", &["train.learning_rate=0.001"]);
    train(&TrainOptions { start: Start::Init(path.clone()), steps: Some(1), ..options });
    let start = checkpoint::read::read(&bench.run("second").join("checkpoints/step-00000000.safetensors")).unwrap();
    assert_eq!(start.parameters.values, newest(&first).parameters.values);
    assert!(start.parameters.velocities.iter().all(|&velocity| velocity == 0.0));
    let options = bench.options("third", &["model.width=0.1"]);
    let message = refused(&TrainOptions { start: Start::Init(path), ..options });
    assert!(message.contains("conv2.weight") && message.contains("model.width = 0.05"), "{message}");
    assert!(!bench.run("third").exists(), "a refused run leaves no folder");
}

#[test]
fn a_resumed_run_keeps_its_recipe_but_may_go_on_longer() {
    let bench = Bench::new();
    train(&TrainOptions { steps: Some(2), ..bench.options("longer", &[]) });
    let resume = |sets: &[&str]| TrainOptions { start: Start::Resume, ..bench.options("longer", sets) };
    let message = refused(&resume(&["train.learning_rate=0.5"]));
    assert!(message.contains("train.learning_rate = 0.5") && message.contains("--init"), "{message}");
    // Without a word about the recipe, it is the run's own.
    let outcome = train(&TrainOptions { sets: vec!["train.epochs=4".into()], ..resume(&[]) });
    assert_eq!(outcome.step, 16);
}

#[test]
fn a_run_is_not_resumed_on_another_dataset_nor_begun_in_its_folder() {
    let bench = Bench::new();
    train(&TrainOptions { steps: Some(1), ..bench.options("mine", &[]) });
    let message = refused(&bench.options("mine", &[]));
    assert!(message.contains("--resume"), "{message}");
    let other = tempfile::tempdir().unwrap();
    let info = coloured_dataset(other.path(), 18, 7, 3, 9).unwrap();
    // Another dataset has another id; give the made one another, in its description and in its shards.
    let foreign = alexnet::shard::DatasetInfo { id: "00000000000000ff".into(), ..info };
    foreign.write(other.path()).unwrap();
    let options = TrainOptions { start: Start::Resume, ..bench.options("mine", &[]) };
    let message = refused(&TrainOptions { data: Data::Shards(other.path().to_path_buf()), ..options });
    assert!(message.contains("another dataset"), "{message}");
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let bench = Bench::new();
    train(&TrainOptions { steps: Some(1), ..bench.options("held", &[]) });
    let lock = std::fs::File::open(bench.run("held").join(".lock")).unwrap();
    lock.lock().unwrap();
    let message = refused(&TrainOptions { start: Start::Resume, ..bench.options("held", &[]) });
    assert!(message.contains("another process"), "{message}");
}

#[test]
fn what_a_killed_run_left_unfinished_is_gone_when_it_resumes() {
    let bench = Bench::new();
    train(&TrainOptions { steps: Some(1), ..bench.options("left", &[]) });
    let leftover = bench.run("left").join("checkpoints/.unfinished-abc");
    std::fs::write(&leftover, "half a checkpoint").unwrap();
    train(&TrainOptions { start: Start::Resume, steps: Some(2), ..bench.options("left", &[]) });
    assert!(!leftover.exists());
}

#[test]
fn synthetic_batches_train_without_shards_and_keep_no_checkpoints() {
    let bench = Bench::new();
    let options = TrainOptions { data: Data::Synthetic, steps: Some(3), ..bench.options("synthetic", &[]) };
    let outcome = train(&options);
    assert_eq!((outcome.step, outcome.checkpoint), (3, None));
}
