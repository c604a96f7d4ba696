//! Bad input gives one clear message and the right exit code, and leaves nothing half-written.

use std::fs;
use std::path::Path;

use predicates::prelude::{PredicateBooleanExt, predicate};

use crate::fixture::*;

/// Packing must fail with exit code 1 and leave no folder of shards.
fn refused(folders: &Folders) -> String {
    let message = folders.failure(&[]);
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    assert!(!folders.out.exists(), "something was written");
    message
}

#[test]
fn folders_that_cannot_be_packed_are_refused_with_what_is_wrong() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 5] = [
        ("data: no such folder", |_| {}),
        ("not a folder", |data| write(data, &jpeg(&photo(1, 64, 64), 90))),
        ("one class only, cat", |data| class_folders(data, &["cat"], 3)),
        ("emu: the class folder is empty", |data| {
            class_folders(data, &["cat", "dog"], 3);
            fs::create_dir(data.join("emu")).unwrap();
        }),
        ("val/zebra: no such class in", |data| {
            class_folders(&data.join("train"), &["cat", "dog"], 3);
            class_folders(&data.join("val"), &["cat", "zebra"], 3);
        }),
    ];
    for (expected, make) in cases {
        let folders = Folders::new();
        make(&folders.data);
        let message = refused(&folders);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_folder_without_images_lists_what_was_looked_for() {
    let folders = Folders::new();
    fs::create_dir(&folders.data).unwrap();
    let message = refused(&folders);
    for wanted in ["no images found", "train/ and val/", "a folder per class", "ILSVRC2012_img_train.tar", "idx3-ubyte"]
    {
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
    write(&folders.data.join("a/notes.txt"), b"text");
    write(&folders.data.join("b/notes.txt"), b"text");
    let message = refused(&folders);
    assert!(message.contains("no images found: none of its first 2 files"), "{message}");
}

#[test]
fn a_class_of_bad_images_only_keeps_its_label_and_is_warned_of() {
    let folders = Folders::new();
    class_folders(&folders.data, &["cat", "emu"], 5);
    write(&folders.data.join("dog/1.jpg"), b"bad");
    let warning = predicate::str::contains("no image of the class dog is in the training split");
    folders.command(&[]).assert().success().stderr(warning);
    let info = alexnet::shard::DatasetInfo::read(&folders.out).unwrap();
    assert_eq!(info.class_names(), ["cat", "dog", "emu"]);
}

#[test]
fn nothing_readable_in_the_training_split() {
    let folders = Folders::new();
    class_folders(&folders.data.join("val"), &["cat", "dog"], 5);
    write(&folders.data.join("train/cat/1.jpg"), b"bad");
    write(&folders.data.join("train/dog/1.jpg"), b"bad");
    let message = folders.failure(&[]);
    assert!(message.contains("no image of the training split can be read"), "{message}");
    assert!(!folders.out.join("dataset.json").exists());
}

#[test]
fn a_folder_that_holds_other_things_is_not_packed_into() {
    let folders = Folders::new();
    class_folders(&folders.data, &["cat", "dog"], 3);
    write(&folders.out.join("thesis.tex"), b"years of work");
    for force in [&[][..], &["--force"]] {
        let message = folders.failure(force);
        assert!(message.contains("did not write (such as thesis.tex)"), "{message}");
    }
    assert_eq!(files(&folders.out).len(), 1);
}

#[test]
fn options_that_do_not_fit_the_source() {
    let folders = Folders::new();
    class_folders(&folders.data.join("train"), &["cat", "dog"], 3);
    class_folders(&folders.data.join("val"), &["cat", "dog"], 3);
    let message = folders.failure(&["--val-fraction", "0.2"]);
    assert!(message.contains("--val-fraction has nothing to divide"), "{message}");
    let names = folders.dir.path().join("names");
    fs::write(&names, "one\ntwo\nthree\n").unwrap();
    let message = folders.failure(&["--class-names", names.to_str().unwrap()]);
    assert!(message.contains("for 2 classes") && message.contains("found 3 lines"), "{message}");
    assert!(!folders.out.exists());
}

#[test]
fn wrong_numbers_on_the_command_line_are_wrong_usage() {
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
        let message = failure(pack_shards().arg("data").args(args), 2);
        assert!(message.contains(args[0]), "{args:?}: {message}");
    }
    failure(pack_shards().arg("data").args(["--strict", "--skip-bad"]), 2);
    failure(pack_shards().arg("data").args(["--strict", "--max-bad", "3"]), 2);
    failure(&mut pack_shards(), 2);
}

#[test]
fn help_teaches() {
    let shown = predicate::str::contains("Examples:").and(predicate::str::contains("Layouts of DATA"));
    pack_shards().arg("--help").assert().success().stdout(shown);
    inspect_shards().arg("--help").assert().success().stdout(predicate::str::contains("Examples:"));
}
