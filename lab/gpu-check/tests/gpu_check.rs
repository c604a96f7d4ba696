//! `gpu-check` as people type it, on the simulated CUDA: what passes, what fails, and what the record has.

#[path = "../../../tests/common/simulated.rs"]
mod simulated;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use alexnet::backend::cuda::libraries::FOLDERS_VARIABLE;
use alexnet::backend::cuda::libraries::compile::CACHE_VARIABLE;

/// What a check left.
struct Checked {
    code: Option<i32>,
    stderr: String,
    record: String,
}

fn gpu_check(arguments: &[&str], settings: &[(&str, &str)]) -> Checked {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-check"));
    command.args(["--tiny", "--commit", "abc123", "--out"]).arg(folder.path()).args(arguments);
    command.env(FOLDERS_VARIABLE, simulated::folder()).env(CACHE_VARIABLE, folder.path().join("cache"));
    command.env("SIMULATED_CUDA_CACHE", simulated::folder().join("cubins"));
    command.envs(settings.iter().copied());
    let output = command.output().expect("the command starts");
    let mut records = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let record = records.find(|path| path.extension().is_some_and(|extension| extension == "md"));
    Checked {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        record: record.map_or_else(String::new, |path| fs::read_to_string(path).expect("the record")),
    }
}

/// A compute-sanitizer that runs what it is given, or says that it found something; alone in its folder, before all
/// others in PATH.
fn with_sanitizer(script: &str, check: impl FnOnce(&str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("compute-sanitizer");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("the script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the script's permissions");
    check(&path_with(folder.path()));
}

fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").expect("a PATH"))
}

#[test]
fn a_sound_gpu_passes_and_the_record_has_every_table() {
    let Checked { code, stderr, record } = gpu_check(&[], &[]);
    assert_eq!(code, Some(0), "{stderr}\n{record}");
    println!("{record}");
    assert!(!record.contains("FAIL") && !record.contains("not measured:"), "{record}");
    for expected in [
        "# gpu-check on Simulated H100",
        "--tiny --commit abc123",
        "commit `abc123`",
        "- Driver: ",
        "- Libraries: cuDNN 9.",
        "| PASS | parity: bf16, narrow, two towers, normalisation before pooling |",
        "| PASS | determinism: bf16, recorded steps and launched ones |",
        "| PASS | determinism: bf16, other numbers of workers and buffers |",
        "| PASS | determinism: tf32, two runs |",
        "| not done | overlap: the upload of batch n + 1 under step n |",
        "## Goals",
        "| end to end | at least 97% of synthetic |",
        "| upload: page-locked memory to the device |",
        "| conv1 forward |",
        "| fc8 backward |",
        "| conv1 update |",
        "| updates, as far as they are not hidden |",
        "## Synthetic training by batch size",
        "| synthetic (device) |",
        "| end-to-end |",
    ] {
        assert!(record.contains(expected), "{expected} in {record}");
    }
    let compute_sanitizer_is_here = record.contains("compute-sanitizer: memcheck");
    assert!(compute_sanitizer_is_here || record.contains("compute-sanitizer is not installed"), "{record}");
}

#[test]
fn updates_that_do_not_wait_for_their_gradients_fail_parity() {
    // The side stream does not wait for fc8's gradients, and the compute stream is late: ordinals in the order in which
    // the backend makes them.
    let settings = [("SIMULATED_CUDA_MUTATE", "skip-wait:2:15"), ("SIMULATED_CUDA_SCHEDULE", "late-stream:1")];
    let Checked { code, stderr, record } = gpu_check(&["--only", "parity"], &settings);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    assert!(record.contains("| FAIL | parity: ") && record.contains(" tensors differ: "), "{record}");
}

#[test]
fn statistics_that_are_read_too_early_fail_parity() {
    // The host does not wait for the end of the odd slot's step.
    let settings = [("SIMULATED_CUDA_MUTATE", "early-sync:9"), ("SIMULATED_CUDA_SCHEDULE", "late-stream:1")];
    let Checked { code, stderr, record } = gpu_check(&["--only", "parity"], &settings);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    assert!(record.contains("| FAIL | parity: ") && record.contains("training samples"), "{record}");
}

#[test]
fn a_call_that_fails_is_a_failed_check_with_its_words() {
    let settings = [("SIMULATED_CUDA_FAIL", "cublasLtMatmul:*")];
    let Checked { code, stderr, record } = gpu_check(&["--only", "determinism"], &settings);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    assert!(record.contains("| FAIL | determinism: bf16, two runs | cuda: cublasLtMatmul failed"), "{record}");
}

#[test]
fn speeds_that_could_not_be_measured_fail_nothing() {
    let settings = [("SIMULATED_CUDA_FAIL", "cublasLtMatmul:*")];
    let Checked { code, stderr, record } = gpu_check(&["--only", "bench"], &settings);
    assert_eq!(code, Some(0), "{stderr}\n{record}");
    assert!(record.contains("not measured: cuda: cublasLtMatmul failed"), "{record}");
    assert!(!record.contains("## Checks"), "{record}");
}

#[test]
fn the_sanitizer_watches_train_with_each_of_its_tools() {
    // Its own arguments end where the program's path begins.
    let script = "while [ \"${1#/}\" = \"$1\" ]; do shift; done; exec \"$@\"";
    with_sanitizer(script, |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "sanitizer"], &[("PATH", path)]);
        assert_eq!(code, Some(0), "{stderr}\n{record}");
        for tool in ["memcheck", "racecheck", "initcheck", "synccheck"] {
            let expected = format!("| PASS | compute-sanitizer: {tool} | 3 steps, nothing found |");
            assert!(record.contains(&expected), "{expected} in {record}");
        }
    });
}

#[test]
fn what_the_sanitizer_finds_fails_the_check() {
    with_sanitizer("echo '========= Invalid __global__ read'; exit 86", |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "sanitizer"], &[("PATH", path)]);
        assert_eq!(code, Some(1), "{stderr}\n{record}");
        let expected = "| FAIL | compute-sanitizer: memcheck | it found: ========= Invalid __global__ read |";
        assert!(record.contains(expected), "{record}");
    });
}

#[test]
fn without_a_gpu_there_is_an_error_and_no_record() {
    let Checked { code, stderr, record } = gpu_check(&[], &[("SIMULATED_CUDA_DEVICES", "0")]);
    assert_eq!((code, record.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("error: cuda: the driver shows no GPU"), "{stderr}");
    let Checked { code, stderr, .. } = gpu_check(&["--only", "speed"], &[]);
    assert!(code == Some(2) && stderr.contains("parity, determinism"), "{stderr}");
}
