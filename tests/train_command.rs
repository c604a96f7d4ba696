//! The commands `train` and `evaluate` as people type them: wrong usage, signals, ports, full disks.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use alexnet::synthetic::dataset::coloured_dataset;
use alexnet::train::checkpoint;

const TINY: &str = "--recipe small --set augment.crop=64 --set augment.canvas=67 --width 0.05 --batch-size 4";

fn train(folder: &Path) -> Command {
    let mut command = with_metrics(folder);
    command.args(["--metrics", "off"]);
    command
}

fn with_metrics(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(folder).args(["--shards", "shards"]).args(TINY.split(' '));
    command
}

fn dataset() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("shards")).unwrap();
    coloured_dataset(&folder.path().join("shards"), 18, 7, 3, 1).unwrap();
    folder
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("an exit code, not a signal"), text(stdout), text(stderr))
}

/// The standard output of a command that must succeed.
fn output(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

/// Asserts that a command fails with `code` and one message that contains all of `expected`.
fn assert_refused(command: &mut Command, code: i32, expected: &[&str]) {
    let (found, stdout, stderr) = run(command);
    assert_eq!(found, code, "{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for expected in expected {
        assert!(stderr.contains(expected), "{expected} in: {stderr}\n{stdout}");
    }
}

#[test]
fn wrong_usage_exits_2_and_says_what_was_expected() {
    let folder = dataset();
    let cases: [(&[&str], &str); 14] = [
        (&["--epochs", "0"], "--epochs"),
        (&["--epochs", "-1"], "-1"),
        (&["--batch-size", "0"], "--batch-size"),
        (&["--batch-size", "99999999999999999999"], "--batch-size"),
        (&["--workers", "0"], "--workers"),
        (&["--threads", "100000"], "--threads"),
        (&["--keep", "0"], "--keep"),
        (&["--width", "-1"], "model.width = -1"),
        (&["--width", "nan"], "model.width"),
        (&["--seed", "18446744073709551615"], "--seed"),
        (&["--set", "train.learnig_rate=1"], "train.learning_rate"),
        (&["--recipe", "smal"], "alexnet, two-tower, small, code2012"),
        (&["--device", "tpu"], "auto, cpu, cuda"),
        (&["--metrics", "nowhere"], "off"),
    ];
    for (arguments, expected) in cases {
        // The last of a repeated option would be an error of its own: name each only once.
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.current_dir(folder.path()).args(["--shards", "shards"]).args(arguments);
        assert_refused(&mut command, 2, &[expected]);
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn no_such_dataset_and_an_unfinished_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    assert_refused(&mut train(folder.path()), 1, &["shards", "no such folder", "pack-shards"]);
    std::fs::create_dir(folder.path().join("shards")).unwrap();
    assert_refused(&mut train(folder.path()), 1, &["shards", "dataset.json", "packing has not finished"]);
}

#[test]
fn what_a_gpu_lacks_is_named_and_a_cpu_computes_in_f32() {
    let folder = dataset();
    // No machine has so many GPUs; one without any lacks the driver's library first.
    let has_gpu = Path::new("/dev/nvidiactl").exists();
    let (code, expected) = if has_gpu { (2, "expected a number below") } else { (1, "libcuda.so.1 was not found") };
    assert_refused(train(folder.path()).args(["--device", "cuda:99"]), code, &[expected]);
    assert_refused(train(folder.path()).args(["--device", "cpu", "--precision", "bf16"]), 2, &["--precision f32"]);
}

#[test]
fn the_recipes_are_listed() {
    let list = output(Command::new(env!("CARGO_BIN_EXE_train")).args(["--recipe", "list"]));
    for expected in [
        "alexnet",
        "two-tower",
        "small",
        "code2012",
        "caffe",
        "caffenet",
        "torchvision",
        "zfnet",
        "model.towers = 2",
        "train.seed = 0",
        "augment.crop = 224",
    ] {
        assert!(list.contains(expected), "{expected} in {list}");
    }
}

/// Starts a long run and waits for its first lines.
fn started(folder: &Path) -> Child {
    let mut child = train(folder).args(["--epochs", "100000"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map(Result::unwrap).find(|line| line.starts_with("metrics")).expect("the first lines");
    std::thread::sleep(Duration::from_millis(300));
    child
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn interrupt_and_terminate_finish_the_step_with_a_checkpoint_and_exit_0() {
    let folder = dataset();
    for (name, run) in [("INT", "runs/synthetic-small-1"), ("TERM", "runs/synthetic-small-2")] {
        let mut child = started(folder.path());
        signal(&child, name);
        assert!(child.wait().unwrap().success(), "{name}");
        let newest = checkpoint::list(&folder.path().join(run).join("checkpoints")).unwrap().pop().unwrap();
        assert!(newest.0 > 0, "{name}: {newest:?}");
        checkpoint::read::read(&newest.1).unwrap();
    }
    let stdout = output(train(folder.path()).args(["--epochs", "100000", "--resume", "--steps", "1"]));
    assert!(stdout.contains("runs/synthetic-small-2"), "{stdout}");
}

#[test]
fn a_taken_default_port_moves_and_a_taken_named_one_is_an_error() {
    let folder = dataset();
    // Whoever holds the default port, this test or another program, it is taken.
    let _default = TcpListener::bind("127.0.0.1:9464");
    let stdout = output(with_metrics(folder.path()).args(["--steps", "1"]));
    assert!(stdout.contains("(127.0.0.1:9464 is taken)"), "{stdout}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_refused(with_metrics(folder.path()).args(["--metrics", &address]), 2, &[&address, "in use"]);
}

#[test]
fn a_disk_that_fills_leaves_no_half_checkpoint() {
    let folder = dataset();
    // 200 blocks of 1 KiB: room for the log, not for a checkpoint.
    let script = "ulimit -f 200; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut command = Command::new("bash");
    command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_train")]);
    command.args(["--shards", "shards", "--metrics", "off"]).args(TINY.split(' '));
    assert_refused(&mut command, 1, &["cannot write", "step-00000000.safetensors"]);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("runs/synthetic-small-1/checkpoints")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn evaluate_gives_the_contracts_json_and_refuses_other_classes() {
    let folder = dataset();
    output(train(folder.path()).args(["--epochs", "2"]));
    let checkpoint = "runs/synthetic-small-1/checkpoints/step-00000008.safetensors";
    let evaluate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evaluate"));
        command.current_dir(folder.path()).args(["--checkpoint", checkpoint]).args(arguments);
        command
    };
    for views in ["1", "10"] {
        let json = output(&mut evaluate(&["--shards", "shards", "--views", views, "--json"]));
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["views"].to_string(), views);
        assert_eq!(report["num_samples"], 7);
        // Three classes: the right one is always among five.
        assert_eq!(report["top5_error"], 0.0);
        let top1 = report["top1_error"].as_f64().unwrap() * 7.0;
        assert!((top1 - top1.round()).abs() < 1e-9 && (0.0..=7.0).contains(&top1), "{report}");
    }
    std::fs::create_dir(folder.path().join("other")).unwrap();
    coloured_dataset(&folder.path().join("other"), 8, 4, 4, 1).unwrap();
    assert_refused(&mut evaluate(&["--shards", "other"]), 1, &["trained on 3 classes", "has 4"]);
    assert_refused(&mut evaluate(&["--shards", "shards", "--views", "5"]), 2, &["expected 1 or 10"]);
}

#[test]
fn predict_needs_the_checkpoint_alone_and_goes_on_past_a_bad_picture() {
    let folder = dataset();
    output(train(folder.path()).args(["--epochs", "2"]));
    let picture = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, 90]));
    picture.save(folder.path().join("picture.png")).unwrap();
    std::fs::write(folder.path().join("broken.jpg"), "no picture").unwrap();
    // Nothing but the checkpoint tells the classes and the mean.
    std::fs::remove_dir_all(folder.path().join("shards")).unwrap();
    let predict = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_predict"));
        let checkpoint = "runs/synthetic-small-1/checkpoints/step-00000008.safetensors";
        command.current_dir(folder.path()).args(["--checkpoint", checkpoint]).args(arguments);
        command
    };
    let json = output(&mut predict(&["picture.png", "picture.png", "--json"]));
    let predictions: serde_json::Value = serde_json::from_str(&json).unwrap();
    let classes = predictions[0]["classes"].as_array().unwrap();
    let probabilities: Vec<f64> = classes.iter().map(|likely| likely["probability"].as_f64().unwrap()).collect();
    assert_eq!(classes.len(), 3, "fewer classes than --top asks for");
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{probabilities:?}");
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
    assert!(classes[0]["class"].as_str().unwrap().starts_with("colour "), "{json}");
    assert_eq!(predictions[0]["classes"], predictions[1]["classes"]);
    let (code, stdout, stderr) = run(&mut predict(&["broken.jpg", "picture.png", "--top", "1"]));
    assert_eq!(code, 1);
    assert!(stdout.starts_with("picture.png: colour "), "{stdout}");
    assert!(stderr.contains("1 of 2 images cannot be read") && stderr.contains("broken.jpg"), "{stderr}");
    assert_refused(&mut predict(&["picture.png", "--top", "0"]), 2, &["--top"]);
    assert_refused(&mut predict(&[]), 2, &["IMAGE"]);
}
