//! Bad input gives one clear message and the right exit code, and leaves nothing half-written.

use std::fs;
use std::path::Path;

use predicates::prelude::{PredicateBooleanExt, predicate};
use tempfile::TempDir;

use crate::fixture::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Packing `data` must fail with exit code 1 and leave no folder of shards.
fn refused(data: &Path) -> String {
    let out = data.parent().unwrap().join("shards");
    let message = failure(pack_shards().arg(data).arg("--out").arg(&out), 1);
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    assert!(!out.exists(), "something was written");
    message
}

#[test]
fn no_such_folder() {
    let dir = folder();
    let message = refused(&dir.path().join("nowhere"));
    assert!(message.contains("nowhere: no such folder"), "{message}");
}

#[test]
fn a_file_in_place_of_a_folder() {
    let dir = folder();
    write(&dir.path().join("picture.jpg"), &jpeg(&photo(1, 64, 64), 90));
    let message = refused(&dir.path().join("picture.jpg"));
    assert!(message.contains("not a folder"), "{message}");
}

#[test]
fn a_folder_without_images_lists_what_was_looked_for() {
    let dir = folder();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let message = refused(&data);
    for wanted in ["no images found", "train/ and val/", "a folder per class", "ILSVRC2012_img_train.tar", "idx3-ubyte"]
    {
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
    write(&data.join("a/notes.txt"), b"text");
    write(&data.join("b/notes.txt"), b"text");
    let message = refused(&data);
    assert!(message.contains("no images found: none of its first 2 files"), "{message}");
}

#[test]
fn one_class_only() {
    let dir = folder();
    let data = dir.path().join("data");
    class_folders(&data, &["cat"], 3);
    let message = refused(&data);
    assert!(message.contains("one class only, cat"), "{message}");
}

#[test]
fn an_empty_class_folder_is_named() {
    let dir = folder();
    let data = dir.path().join("data");
    class_folders(&data, &["cat", "dog"], 3);
    fs::create_dir(data.join("emu")).unwrap();
    let message = refused(&data);
    assert!(message.contains("emu: the class folder is empty"), "{message}");
}

#[test]
fn a_class_of_bad_images_only_keeps_its_label_and_is_warned_of() {
    let dir = folder();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    class_folders(&data, &["cat", "emu"], 5);
    write(&data.join("dog/1.jpg"), b"bad");
    pack_shards()
        .arg(&data)
        .arg("--out")
        .arg(&out)
        .assert()
        .success()
        .stderr(predicate::str::contains("no image of the class dog is in the training split"));
    let info = alexnet::shard::DatasetInfo::read(&out).unwrap();
    assert_eq!(info.class_names(), ["cat", "dog", "emu"]);
}

#[test]
fn nothing_readable_in_the_training_split() {
    let dir = folder();
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    class_folders(&data.join("val"), &["cat", "dog"], 5);
    write(&data.join("train/cat/1.jpg"), b"bad");
    write(&data.join("train/dog/1.jpg"), b"bad");
    let message = failure(pack_shards().arg(&data).arg("--out").arg(&out), 1);
    assert!(message.contains("no image of the training split can be read"), "{message}");
    assert!(!out.join("dataset.json").exists());
}

#[test]
fn a_validation_class_that_is_not_trained() {
    let dir = folder();
    let data = dir.path().join("data");
    class_folders(&data.join("train"), &["cat", "dog"], 3);
    class_folders(&data.join("val"), &["cat", "zebra"], 3);
    let message = refused(&data);
    assert!(message.contains("val/zebra: no such class in"), "{message}");
}

#[test]
fn a_folder_that_holds_other_things_is_not_packed_into() {
    let dir = folder();
    let (data, out) = (dir.path().join("data"), dir.path().join("home"));
    class_folders(&data, &["cat", "dog"], 3);
    write(&out.join("thesis.tex"), b"years of work");
    for force in [&[][..], &["--force"]] {
        let message = failure(pack_shards().arg(&data).arg("--out").arg(&out).args(force), 1);
        assert!(message.contains("did not write (such as thesis.tex)"), "{message}");
    }
    assert_eq!(files(&out).len(), 1);
}

#[test]
fn options_that_do_not_fit_the_source() {
    let dir = folder();
    let data = dir.path().join("data");
    class_folders(&data.join("train"), &["cat", "dog"], 3);
    class_folders(&data.join("val"), &["cat", "dog"], 3);
    let out = dir.path().join("out");
    let message = failure(pack_shards().arg(&data).arg("--out").arg(&out).args(["--val-fraction", "0.2"]), 1);
    assert!(message.contains("--val-fraction has nothing to divide"), "{message}");
    let names = dir.path().join("names");
    fs::write(&names, "one\ntwo\nthree\n").unwrap();
    let message = failure(pack_shards().arg(&data).arg("--out").arg(&out).arg("--class-names").arg(&names), 1);
    assert!(message.contains("for 2 classes") && message.contains("found 3 lines"), "{message}");
    assert!(!out.exists());
}

#[test]
fn wrong_numbers_on_the_command_line_are_wrong_usage() {
    let dir = folder();
    for args in [
        ["--threads", "0"],
        ["--threads", "-3"],
        ["--threads", "99999999999"],
        ["--shard-samples", "0"],
        ["--shard-samples", "4294967296"],
        ["--max-train", "0"],
        ["--max-val", "0"],
        ["--max-val", "1e9"],
        ["--seed", "-1"],
        ["--seed", "18446744073709551616"],
        ["--val-fraction", "1"],
        ["--val-fraction", "NaN"],
        ["--max-bad", "-5"],
        ["--max-bad", "101%"],
    ] {
        let message = failure(pack_shards().arg(dir.path()).args(args), 2);
        assert!(message.contains(args[0]), "{args:?}: {message}");
    }
    failure(pack_shards().arg(dir.path()).args(["--strict", "--skip-bad"]), 2);
    failure(pack_shards().arg(dir.path()).args(["--strict", "--max-bad", "3"]), 2);
    failure(&mut pack_shards(), 2);
}

#[test]
fn help_teaches() {
    let shown = predicate::str::contains("Examples:").and(predicate::str::contains("Layouts of DATA"));
    pack_shards().arg("--help").assert().success().stdout(shown);
    inspect_shards().arg("--help").assert().success().stdout(predicate::str::contains("Examples:"));
}
