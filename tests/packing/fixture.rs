//! Generates images and folders of images, and runs the commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use alexnet::shard::picture::{add_mean, picture};
use alexnet::shard::{Dataset, Split};
use assert_cmd::Command;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

pub fn pack_shards() -> Command {
    Command::cargo_bin("pack-shards").unwrap()
}

pub fn inspect_shards() -> Command {
    Command::cargo_bin("inspect-shards").unwrap()
}

/// A folder for images and one for their shards, neither of which exists yet.
pub struct Folders {
    pub dir: TempDir,
    pub data: PathBuf,
    pub out: PathBuf,
}

impl Folders {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (data, out) = (dir.path().join("data"), dir.path().join("out"));
        Self { dir, data, out }
    }

    /// The command that packs the images into `out`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = pack_shards();
        command.arg(&self.data).arg("--out").arg(&self.out).args(args);
        command
    }

    /// Packs, which must succeed, and returns the last line of standard output.
    pub fn pack(&self, args: &[&str]) -> String {
        let output = self.command(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
    }

    /// Packs into the folder `name` instead, and returns its path.
    pub fn pack_into(&self, name: &str, args: &[&str]) -> PathBuf {
        let out = self.dir.path().join(name);
        pack_shards().arg(&self.data).arg("--out").arg(&out).args(args).assert().success();
        out
    }

    /// Packing must fail with exit code 1; returns standard error.
    pub fn failure(&self, args: &[&str]) -> String {
        failure(&mut self.command(args), 1)
    }
}

/// Runs a command that must fail with exit code `code`, and returns its standard error.
pub fn failure(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

/// A smooth picture, which JPEG preserves well, different for every seed.
pub fn photo(seed: u32, width: u32, height: u32) -> RgbImage {
    let phase = f64::from(seed) * 0.37;
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let wave = |offset: f64| (127.5 + 127.0 * (phase + offset + 5.0 * x + 3.0 * y * offset).sin()) as u8;
        Rgb([wave(0.5), wave(1.1), wave(2.3)])
    })
}

pub fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture).unwrap();
    bytes
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes `root/class/0000.jpg` and so on, different pictures.
pub fn class_folders(root: &Path, classes: &[&str], num_a_class: u32) {
    for (label, class) in classes.iter().enumerate() {
        for number in 0..num_a_class {
            let picture = photo(label as u32 * 1000 + number, 96 + number % 7, 80);
            write(&root.join(class).join(format!("{number:04}.jpg")), &jpeg(&picture, 90));
        }
    }
}

/// Every file of a folder with its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// The pixels and labels of a split, in order.
pub fn samples(out: &Path, split: Split) -> Vec<(Vec<u8>, u32)> {
    let dataset = Dataset::open(out).unwrap();
    let samples = dataset.split(split);
    (0..samples.num_samples())
        .map(|index| {
            let sample = samples.sample(index);
            (add_mean(sample.bytes, dataset.mean()), sample.label)
        })
        .collect()
}

/// The only training sample of a class, as a picture.
pub fn only_sample(out: &Path, class: &str) -> RgbImage {
    let label = Dataset::open(out).unwrap().info().classes.iter().position(|other| other.name == class).unwrap();
    let all = [samples(out, Split::Train), samples(out, Split::Val)].concat();
    let of_class: Vec<_> = all.into_iter().filter(|(_, other)| *other as usize == label).collect();
    assert_eq!(of_class.len(), 1, "samples of {class}");
    picture(&of_class[0].0)
}

/// The largest difference between two values.
pub fn difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// The rows of `skipped.csv`.
pub fn skipped(out: &Path) -> Vec<[String; 4]> {
    let mut reader = csv::Reader::from_path(out.join("skipped.csv")).unwrap();
    assert_eq!(reader.headers().unwrap(), &["path", "split", "class", "reason"][..]);
    reader.deserialize().map(Result::unwrap).collect()
}
