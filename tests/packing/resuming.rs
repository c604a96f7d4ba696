//! Stopping at any time is safe, and no result depends on thread timing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::fixture::*;

const SHARD_SAMPLES: &str = "8";

/// 200 images in three classes, a few of them bad.
fn data(dir: &TempDir) -> PathBuf {
    let data = dir.path().join("data");
    class_folders(&data, &["ant", "bee", "cow"], 65);
    for number in 0..5 {
        write(&data.join(format!("bee/bad{number}.jpg")), b"no image");
    }
    data
}

fn packed(data: &Path, out: &Path, threads: &str) -> BTreeMap<String, Vec<u8>> {
    pack(data, out, &["--threads", threads, "--shard-samples", SHARD_SAMPLES]);
    files(out)
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{name} differs");
    }
}

#[test]
fn one_thread_and_four_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let one = packed(&data, &dir.path().join("one"), "1");
    let four = packed(&data, &dir.path().join("four"), "4");
    assert_same(&one, &four);
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
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let whole = packed(&data, &dir.path().join("whole"), "2");
    let out = dir.path().join("killed");
    let (mut num_kills, mut in_pass_one, mut in_pass_two) = (0, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let before = progress(&out);
        let mut packer = std::process::Command::new(env!("CARGO_BIN_EXE_pack-shards"))
            .arg(&data)
            .arg("--out")
            .arg(&out)
            .args(["--threads", "2", "--shard-samples", SHARD_SAMPLES])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = loop {
            if let Some(status) = packer.try_wait().unwrap() {
                break status;
            }
            if progress(&out) >= before + 3 {
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
        if progress(&out) > 1000 { in_pass_two += 1 } else { in_pass_one += 1 }
    }
    assert!(in_pass_one >= 2 && in_pass_two >= 1, "{num_kills} kills, {in_pass_one} and {in_pass_two}");
    assert_same(&whole, &files(&out));
}

#[test]
fn packing_what_is_packed_does_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (data(&dir), dir.path().join("out"));
    let before = packed(&data, &out, "2");
    let output = pack_shards().arg(&data).arg("--out").arg(&out).args(["--shard-samples", SHARD_SAMPLES]).assert();
    let output = output.success().get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("packed before, nothing to do"), "{message}");
    assert_same(&before, &files(&out));
}

#[test]
fn changed_settings_or_images_are_refused_with_what_changed_and_force_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (data(&dir), dir.path().join("out"));
    let before = packed(&data, &out, "2");
    let again = |args: &[&str]| {
        let mut command = pack_shards();
        command.arg(&data).arg("--out").arg(&out).args(args);
        command
    };
    let message = failure(&mut again(&["--shard-samples", "9", "--seed", "3"]), 1);
    assert!(message.contains("--seed was 0 and is 3, --shard-samples was 8 and is 9"), "{message}");
    assert!(message.contains("--force") && message.contains("--out"), "{message}");
    write(&data.join("ant/new.jpg"), &jpeg(&photo(5000, 80, 80), 90));
    let message = failure(&mut again(&["--shard-samples", SHARD_SAMPLES]), 1);
    assert!(message.contains("the images' names, sizes or number have changed"), "{message}");
    assert_same(&before, &files(&out));
    again(&["--shard-samples", "50", "--force"]).assert().success();
    let after = files(&out);
    assert!(after.len() < before.len(), "the old shards are gone");
    inspect_shards().arg(&out).arg("--verify").assert().success();
}

#[test]
fn a_file_size_limit_or_full_disk_is_one_clear_error_and_packing_goes_on_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (data(&dir), dir.path().join("out"));
    let args = ["--threads", "2", "--shard-samples", "16"];
    // Blocks of 1 KiB; a raw shard of 16 samples takes 3 MiB, the state half of that.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    let mut command = assert_cmd::Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_pack-shards")]).arg(&data).arg("--out").arg(&out).args(args);
    let message = failure(&mut command, 1);
    assert!(message.contains("File too large") && message.contains("resumes where it stopped"), "{message}");
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    assert!(!out.join("dataset.json").exists());
    pack(&data, &out, &args);
    let whole = dir.path().join("whole");
    pack(&data, &whole, &args);
    assert_same(&files(&whole), &files(&out));
}

#[test]
fn two_packers_in_one_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (data(&dir), dir.path().join("out"));
    fs::create_dir(&out).unwrap();
    let held = fs::File::open(&out).unwrap();
    held.try_lock().unwrap();
    let message = failure(pack_shards().arg(&data).arg("--out").arg(&out), 1);
    assert!(message.contains("another pack-shards is packing into it"), "{message}");
}

#[test]
fn too_many_bad_images_stop_packing_and_a_higher_limit_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (data(&dir), dir.path().join("out"));
    let mut command = pack_shards();
    command.arg(&data).arg("--out").arg(&out).args(["--max-bad", "2", "--shard-samples", SHARD_SAMPLES]);
    let message = failure(&mut command, 1);
    assert!(message.contains("3 of 200 images cannot be read, and --max-bad allows 2"), "{message}");
    assert!(message.contains("not an image"), "{message}");
    assert_eq!(skipped(&out).len(), 3);
    let raised = packed(&data, &out, "2");
    assert_same(&packed(&data, &dir.path().join("whole"), "2"), &raised);
    assert_eq!(skipped(&out).len(), 5);
}

#[test]
fn strict_stops_at_the_first_bad_image_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let mut command = pack_shards();
    command.arg(&data).arg("--out").arg(dir.path().join("out")).arg("--strict");
    let message = failure(&mut command, 1);
    assert!(
        message.contains("bee/bad") && message.contains("not an image") && message.contains("--strict"),
        "{message}"
    );
}
