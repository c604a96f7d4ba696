//! Stopping at any time is safe, and no result depends on thread timing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use predicates::prelude::predicate;

use crate::fixture::*;

const SHARD_SAMPLES: &str = "8";

/// 200 images in three classes, a few of them bad.
fn images() -> Folders {
    let folders = Folders::new();
    class_folders(&folders.data, &["ant", "bee", "cow"], 65);
    for number in 0..5 {
        write(&folders.data.join(format!("bee/bad{number}.jpg")), b"no image");
    }
    folders
}

fn packed(folders: &Folders, out: &str, threads: &str) -> BTreeMap<String, Vec<u8>> {
    files(&folders.pack_into(out, &["--threads", threads, "--shard-samples", SHARD_SAMPLES]))
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{name} differs");
    }
}

#[test]
fn one_thread_and_four_give_the_same_bytes() {
    let folders = images();
    assert_same(&packed(&folders, "one", "1"), &packed(&folders, "four", "4"));
}

/// The progress of a packer in shards: raw ones first, then final ones.
fn progress(out: &Path) -> usize {
    let count = |folder: &Path, ending: &str| {
        let Ok(entries) = fs::read_dir(folder) else { return 0 };
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(ending)).count()
    };
    let num_shards = count(out, ".shard");
    if num_shards > 0 { 1000 + num_shards } else { count(&out.join(".packing"), ".raw") }
}

#[test]
fn a_pack_killed_again_and_again_ends_as_an_uninterrupted_one_byte_for_byte() {
    let folders = images();
    let whole = packed(&folders, "whole", "2");
    let Folders { data, out, .. } = &folders;
    let (mut num_kills, mut in_pass_one, mut in_pass_two) = (0, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let before = progress(out);
        let mut packer = std::process::Command::new(env!("CARGO_BIN_EXE_pack-shards"))
            .arg(data)
            .arg("--out")
            .arg(out)
            .args(["--threads", "2", "--shard-samples", SHARD_SAMPLES])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = loop {
            if let Some(status) = packer.try_wait().unwrap() {
                break status;
            }
            if progress(out) >= before + 3 {
                // SIGKILL: nothing is cleaned up.
                packer.kill().unwrap();
                break packer.wait().unwrap();
            }
            assert!(Instant::now() < deadline, "packing does not come to its end");
            std::thread::sleep(Duration::from_micros(300));
        };
        if status.success() {
            break;
        }
        num_kills += 1;
        if progress(out) > 1000 { in_pass_two += 1 } else { in_pass_one += 1 }
    }
    assert!(in_pass_one >= 2 && in_pass_two >= 1, "{num_kills} kills, {in_pass_one} and {in_pass_two}");
    assert_same(&whole, &files(out));
}

#[test]
fn packing_what_is_packed_does_nothing_and_says_so() {
    let folders = images();
    let before = packed(&folders, "out", "2");
    let again = folders.command(&["--shard-samples", SHARD_SAMPLES]).assert().success();
    again.stderr(predicate::str::contains("packed before, nothing to do"));
    assert_same(&before, &files(&folders.out));
}

#[test]
fn changed_settings_or_images_are_refused_with_what_changed_and_force_starts_over() {
    let folders = images();
    let before = packed(&folders, "out", "2");
    let message = folders.failure(&["--shard-samples", "9", "--seed", "3"]);
    assert!(message.contains("--seed was 0 and is 3, --shard-samples was 8 and is 9"), "{message}");
    assert!(message.contains("--force") && message.contains("--out"), "{message}");
    write(&folders.data.join("ant/new.jpg"), &jpeg(&photo(5000, 80, 80), 90));
    let message = folders.failure(&["--shard-samples", SHARD_SAMPLES]);
    assert!(message.contains("the images' names, sizes or number have changed"), "{message}");
    assert_same(&before, &files(&folders.out));
    folders.pack(&["--shard-samples", "50", "--force"]);
    assert!(files(&folders.out).len() < before.len(), "the old shards are gone");
    inspect_shards().arg(&folders.out).arg("--verify").assert().success();
}

#[test]
fn a_file_size_limit_or_full_disk_is_one_clear_error_and_packing_goes_on_afterwards() {
    let folders = images();
    let Folders { data, out, .. } = &folders;
    let args = ["--threads", "2", "--shard-samples", "16"];
    // Blocks of 1 KiB; a raw shard of 16 samples takes 3 MiB, the state half of that.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    let mut command = assert_cmd::Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_pack-shards")]).arg(data).arg("--out").arg(out).args(args);
    let message = failure(&mut command, 1);
    assert!(message.contains("File too large") && message.contains("resumes where it stopped"), "{message}");
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    assert!(!out.join("dataset.json").exists());
    folders.pack(&args);
    assert_same(&files(&folders.pack_into("whole", &args)), &files(out));
}

#[test]
fn two_packers_in_one_folder_are_refused() {
    let folders = images();
    fs::create_dir(&folders.out).unwrap();
    let held = fs::File::open(&folders.out).unwrap();
    held.try_lock().unwrap();
    let message = folders.failure(&[]);
    assert!(message.contains("another pack-shards is packing into it"), "{message}");
}

#[test]
fn too_many_bad_images_stop_packing_and_a_higher_limit_goes_on() {
    let folders = images();
    let message = folders.failure(&["--max-bad", "2", "--shard-samples", SHARD_SAMPLES]);
    assert!(message.contains("3 of 200 images cannot be read, and --max-bad allows 2"), "{message}");
    assert!(message.contains("not an image"), "{message}");
    assert_eq!(skipped(&folders.out).len(), 3);
    let raised = packed(&folders, "out", "2");
    assert_same(&packed(&folders, "whole", "2"), &raised);
    assert_eq!(skipped(&folders.out).len(), 5);
}

#[test]
fn strict_stops_at_the_first_bad_image_and_names_it() {
    let message = images().failure(&["--strict"]);
    assert!(
        message.contains("bee/bad") && message.contains("not an image") && message.contains("--strict"),
        "{message}"
    );
}
