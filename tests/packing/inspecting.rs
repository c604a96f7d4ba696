//! `inspect-shards` shows, draws and verifies a dataset.

use std::fs;
use std::path::Path;

use alexnet::shard::Split;
use alexnet::shard::picture::picture;
use predicates::prelude::{PredicateBooleanExt, predicate};

use crate::fixture::*;

const FIRST_SHARD: &str = "train-00000.shard";

fn packed() -> Folders {
    let folders = Folders::new();
    class_folders(&folders.data.join("train"), &["cat", "dog"], 6);
    class_folders(&folders.data.join("val"), &["cat", "dog"], 2);
    folders.pack(&["--shard-samples", "5"]);
    folders
}

#[test]
fn the_summary_tells_what_the_dataset_is() {
    let Folders { dir: _dir, out, .. } = packed();
    let says = |text: &'static str| predicate::str::contains(text);
    inspect_shards().arg(&out).assert().success().stdout(
        says("data: 16 images of 2 classes")
            .and(says("cat"))
            .and(says("mean colour"))
            .and(says("lighting"))
            .and(says("split-folders"))
            .and(says("skipped      none"))
            .and(says("seed 0, 5 samples per shard")),
    );
    let json = inspect_shards().arg(&out).arg("--json").assert().success().get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["train"]["num_samples"], 12);
}

#[test]
fn a_sound_dataset_is_verified() {
    let Folders { dir: _dir, out, .. } = packed();
    inspect_shards().arg(&out).arg("--verify").assert().success().stdout("all 16 samples verified\n");
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn one_flipped_bit_anywhere_in_a_shard_is_found() {
    let Folders { dir: _dir, out, .. } = packed();
    let shard = out.join(FIRST_SHARD);
    let whole = fs::read(&shard).unwrap();
    let samples = 4096 + 196_608;
    let labels = samples + 5 * 196_608;
    let places = [
        (20, "header checksum"),
        (104, "header checksum"),
        (3000, "padding"),
        (5000, "the mean image is damaged"),
        (samples + 196_608 + 77, "sample 1 is damaged"),
        (labels + 4, "the table of labels is damaged"),
        (labels + 20 + 8, "the table of checksums is damaged"),
    ];
    for (offset, found) in places {
        flip(&shard, offset);
        let message = failure(inspect_shards().arg(&out).arg("--verify"), 1);
        assert!(message.contains(FIRST_SHARD) && message.contains(found), "bit at {offset}: {message}");
        fs::write(&shard, &whole).unwrap();
    }
}

#[test]
fn all_damages_are_listed_not_only_the_first() {
    let Folders { dir: _dir, out, .. } = packed();
    flip(&out.join(FIRST_SHARD), 4096 + 196_608 + 5);
    flip(&out.join(FIRST_SHARD), 4096 + 4 * 196_608 + 5);
    fs::remove_file(out.join("val-00000.shard")).unwrap();
    let message = failure(inspect_shards().arg(&out).arg("--verify"), 1);
    for wanted in ["sample 0 is damaged", "sample 3 is damaged", "val-00000.shard", "3 damaged parts"] {
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
}

#[test]
fn a_shard_cut_short_of_another_version_or_of_another_dataset_is_reported_with_its_path() {
    let Folders { dir: _dir, out, .. } = packed();
    let shard = out.join(FIRST_SHARD);
    let whole = fs::read(&shard).unwrap();
    let reported = |bytes: &[u8], wanted: &str| {
        fs::write(&shard, bytes).unwrap();
        for args in [&[][..], &["--verify"]] {
            let message = failure(inspect_shards().arg(&out).args(args), 1);
            assert!(message.contains(FIRST_SHARD) && message.contains(wanted), "{wanted}: {message}");
        }
        fs::write(&shard, &whole).unwrap();
    };
    reported(&whole[..whole.len() - 1], "truncated or padded");
    reported(&whole[..100], "too few for a shard");
    reported(b"", "too few for a shard");
    let mut version = whole.clone();
    version[8] = 2;
    reported(&version, "version 2, this build reads 1");
    let mut magic = whole.clone();
    magic[0] = b'X';
    reported(&magic, "not a shard");
    let other = Folders::new();
    class_folders(&other.data, &["hat", "tie"], 6);
    other.pack(&["--val-fraction", "0", "--shard-samples", "5"]);
    reported(&fs::read(other.out.join(FIRST_SHARD)).unwrap(), "a shard of another dataset");
    reported(&fs::read(out.join("train-00001.shard")).unwrap(), "not the shard that dataset.json lists");
}

#[test]
fn an_exported_sample_is_the_sample_to_the_bit() {
    let Folders { dir, out, .. } = packed();
    let file = dir.path().join("sample.png");
    inspect_shards().arg(&out).args(["--split", "val", "--export", "3"]).arg(&file).assert().success();
    let exported = image::open(&file).unwrap().into_rgb8();
    assert_eq!(difference(&exported, &picture(&samples(&out, Split::Val)[3].0)), 0);
    let message = failure(inspect_shards().arg(&out).args(["--export", "12"]).arg(&file), 2);
    assert!(message.contains("expected a sample of 0 to 11 of the train split"), "{message}");
}

#[test]
fn the_contact_sheet_shows_the_centres_of_samples() {
    let Folders { dir, out, .. } = packed();
    let file = dir.path().join("sheet.png");
    inspect_shards().arg(&out).arg("--sheet").arg(&file).assert().success();
    let sheet = image::open(&file).unwrap().into_rgb8();
    // The centre of some sample is somewhere on it, bit for bit.
    let sample = picture(&samples(&out, Split::Train)[0].0);
    let row: Vec<u8> = (16..240).flat_map(|x| sample.get_pixel(x, 16).0).collect();
    let found = sheet.as_raw().windows(row.len()).any(|window| window == row);
    assert!(found, "the first sample is not on the sheet");
}
