//! Every command of docs/tutorial.md, in its order, on small data and with a narrow network.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};

const TUTORIAL: &str = include_str!("../docs/tutorial.md");
const LAST: &str = "step-LAST.safetensors";
/// Added to what trains, so that a step takes milliseconds. Of a key that is set twice the last one counts.
const TINY: [&str; 4] = ["model.width=0.05", "augment.crop=64", "augment.canvas=67", "train.batch_size=4"];

/// Where a program lies whose command begins with `tools/`.
fn program(name: &str) -> PathBuf {
    let beside_tests = Path::new(env!("CARGO_BIN_EXE_train")).parent().unwrap();
    let path = beside_tests.join(name);
    assert!(path.exists(), "the tutorial has a command tools/{name} that is not built");
    path
}

/// A picture of two colours, told apart by `number`.
fn photo(path: &Path, number: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let colour = |x: u32, y: u32| Rgb([(60 * number % 256) as u8, x as u8, (y + number) as u8]);
    RgbImage::from_fn(300, 260, colour).save(path).unwrap();
}

/// What the tutorial's reader has: photographs by class, and ImageNet's unpacked folders, much smaller.
fn lay_out(folder: &Path) {
    for (class, first) in [("dress", 0), ("hat", 40), ("shoes", 80)] {
        (0..20).for_each(|number| photo(&folder.join(format!("photos/{class}/{class}-{number}.png")), first + number));
    }
    let mut labels = String::new();
    for (class, name) in ["n01440764", "n01443537"].iter().enumerate() {
        for number in 0..8 {
            photo(&folder.join(format!("imagenet/train/{name}/{name}_{number}.png")), 50 * class as u32 + number);
        }
        for number in 1..=3 {
            let image = format!("ILSVRC2012_val_{:08}", 3 * class + number);
            photo(&folder.join(format!("imagenet/val/{image}.png")), 50 * class as u32);
            labels += &format!("{image} {name}\n");
        }
    }
    std::fs::write(folder.join("val-labels.txt"), labels).unwrap();
}

/// Of the run that a path names, the newest checkpoint in place of the name that stands for it.
fn with_newest(word: &str, folder: &Path) -> String {
    let Some(checkpoints) = word.strip_suffix(LAST) else { return word.to_owned() };
    let files = std::fs::read_dir(folder.join(checkpoints)).unwrap().map(|file| file.unwrap().file_name());
    checkpoints.to_owned() + files.max().unwrap().to_str().unwrap()
}

fn run(line: &str, folder: &Path) {
    let mut words = line.split_whitespace().map(|word| with_newest(word, folder));
    let first = words.next().unwrap();
    let Some(name) = first.strip_prefix("tools/") else {
        assert_eq!(first, "ls", "{line}: a command that the tutorial's test does not know");
        return;
    };
    let mut command = Command::new(program(name));
    command.current_dir(folder).args(words);
    let trains = matches!(name, "train" | "bench") && !line.ends_with("list");
    if trains {
        TINY.iter().for_each(|set| _ = command.args(["--set", set]));
    }
    if trains && name == "train" {
        command.args(["--metrics", "off"]);
        if !line.contains("--epochs") {
            command.args(["--steps", "6"]);
        }
    }
    if name == "bench" {
        command.args(["--seconds", "0.2", "--rounds", "1"]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
}

#[test]
fn every_command_of_the_tutorial_works_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    lay_out(folder.path());
    let commands: Vec<&str> = TUTORIAL.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(commands.len() > 15, "{commands:?}");
    commands.iter().for_each(|line| run(line, folder.path()));
    for made in ["sheet.png", "runs/first/report.html", "compared.html", "runs/imagenet/log.jsonl"] {
        assert!(folder.path().join(made).exists(), "{made}");
    }
}
