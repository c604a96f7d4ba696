//! `gpu-check` as people type it, on the simulated CUDA: what passes, what fails, what becomes of a part that dies, and
//! what the record has.

#[path = "../../../../tests/common/simulated.rs"]
mod simulated;

mod alone;
mod checked;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::checked::{Checked, command, gpu_check, record};

/// A program of NVIDIA's, alone in its folder, before all others in PATH.
fn with_program(name: &str, script: &str, check: impl FnOnce(&str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("the script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the script's permissions");
    check(&format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("a PATH")));
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
        "/libsimulated_cuda.so",
        "| PASS | parity: bf16, narrow, two towers, normalisation before pooling |",
        "| PASS | NaN in any layer shows in the loss: bf16 | 8 layers |",
        "| PASS | determinism: bf16, recorded steps and launched ones |",
        "| PASS | determinism: bf16, other numbers of workers and buffers |",
        "| PASS | determinism: tf32, two runs |",
        "| not done | overlap: the upload of batch n + 1 under step n |",
        "## Goals",
        "| end to end | at least 97% of synthetic |",
        "| as it trains |",
        "| no graph, all in turn, wide updates |",
        "| `conv_tail_forward_no_lrn` | 1 | ",
        "| `softmax_cross_entropy` | 1 | ",
        "| Forward of ConvolutionShape { num_samples: 8, ",
        "## All algorithms by their times",
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
    assert!(!record.contains("Not finished"), "{record}");
}

#[test]
fn updates_that_do_not_wait_for_their_gradients_fail_parity() {
    // The gradients' stream does not wait for what the chain leaves it, and the chain's is late: ordinals in the order
    // in which the backend makes them.
    let settings = [("SIMULATED_CUDA_MUTATE", "skip-wait:2:15"), ("SIMULATED_CUDA_SCHEDULE", "late-stream:1")];
    let Checked { code, stderr, record } = gpu_check(&["--only", "parity"], &settings);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    assert!(record.contains("| FAIL | parity: ") && record.contains(" tensors differ: "), "{record}");
    // All wrong tensors are named, with the first wrong value and how many there are.
    assert!(record.contains("values wrong, ") && record.contains("; first at "), "{record}");
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
    // Each has had a process of its own.
    assert!(record.contains("| FAIL | determinism: f32, two runs | cuda: cublasLtMatmul failed"), "{record}");
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
fn a_part_that_dies_costs_only_itself() {
    for (fault, expected) in [
        ("FirstParity:1:abort", "its process died of signal 6"),
        ("FirstParity:1:panic", "its process ended with exit code 101; its last words: "),
    ] {
        let Checked { code, stderr, record } = gpu_check(&["--only", "parity", "--fault", fault], &[]);
        assert_eq!(code, Some(1), "{stderr}\n{record}");
        assert!(record.contains("## Checks: 8 passed, 1 failed, 0 not done"), "{record}");
        let failed = format!("| FAIL | parity: bf16, narrow, two towers, normalisation before pooling | {expected}");
        assert!(record.contains(&failed), "{failed} in {record}");
    }
}

#[test]
fn without_a_dataset_what_trains_on_it_is_not_done() {
    let arguments = ["--only", "determinism", "--fault", "Dataset:0:abort"];
    let Checked { code, stderr, record } = gpu_check(&arguments, &[]);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    assert!(record.contains("| FAIL | the dataset | its process died of signal 6"), "{record}");
    assert!(record.contains("| not done | determinism | there is no dataset to train on |"), "{record}");
}

#[test]
fn what_a_sticky_error_ended_is_done_again_in_a_new_process() {
    // The first launch of this kernel ends its context, in every process: each case fails by its own.
    let settings = [("SIMULATED_CUDA_FAIL", "cuLaunchKernel:20:CUDA_ERROR_ILLEGAL_ADDRESS")];
    let Checked { code, stderr, record } = gpu_check(&["--only", "parity"], &settings);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    assert!(record.contains("## Checks: 0 passed, 9 failed"), "{record}");
}

#[test]
fn a_deadline_leaves_the_rest_undone() {
    let begun = Instant::now();
    let arguments = ["--deadline", "1", "--fault", "FirstParity:0:hang"];
    let Checked { code, stderr, record } = gpu_check(&arguments, &[]);
    assert_eq!(code, Some(0), "{stderr}\n{record}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(record.contains("- Command: `gpu-check --tiny") && record.contains("0 passed, 0 failed"), "{record}");
    for undone in ["bench: the step", "determinism", "compute-sanitizer"] {
        let expected = format!("| not done | {undone} | the deadline of 1 s was over |");
        assert!(record.contains(&expected), "{expected} in {record}");
    }
}

#[test]
fn a_check_that_is_killed_leaves_the_record_of_what_it_had_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--only", "parity", "--fault", "FirstParity:2:hang"];
    // What it cannot remove any more lies in the test's folder.
    let settings = [("TMPDIR", folder.path().to_str().expect("UTF-8"))];
    let mut child = command(folder.path(), &arguments, &settings).stderr(Stdio::null()).spawn().expect("it starts");
    let begun = Instant::now();
    let under_way = "- **Not finished**: parity: tf32, narrow, one tower, normalisation before pooling was under way.";
    let seen = loop {
        let seen = record(folder.path()).unwrap_or_default();
        if seen.contains(under_way) || begun.elapsed() > Duration::from_secs(300) {
            break seen;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    child.kill().and_then(|()| child.wait()).expect("it was killed");
    assert!(seen.contains("2 passed, 0 failed, 0 not done") && seen.contains(under_way), "{seen}");
    assert_eq!(record(folder.path()).unwrap_or_default(), seen);
}

#[test]
fn the_last_out_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("made/by/it");
    let arguments = ["--deadline", "0", "--out", other.to_str().expect("UTF-8")];
    let Checked { code, stderr, record: none } = gpu_check(&arguments, &[]);
    assert_eq!((code, none.as_str()), (Some(0), ""), "{stderr}");
    assert!(record(&other).is_some_and(|record| record.contains("the deadline of 0 s was over")), "{stderr}");
}

#[test]
fn the_sanitizer_watches_our_kernels_in_train_with_each_of_its_tools() {
    // Its own arguments end where the program's path begins.
    let script = "[ \"$1\" = --help ] && { echo '  --kernel-name arg  Filter'; exit; }
        case \"$*\" in *'--report-api-errors no'*'--kernel-name kns=arrange_input'*) ;; *) exit 1 ;; esac
        while [ \"${1#/}\" = \"$1\" ]; do shift; done; exec \"$@\"";
    with_program("compute-sanitizer", script, |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "sanitizer"], &[("PATH", path)]);
        assert_eq!(code, Some(0), "{stderr}\n{record}");
        for tool in ["memcheck", "racecheck", "initcheck", "synccheck"] {
            let expected = format!("| PASS | compute-sanitizer: {tool} | 3 steps, nothing found |");
            assert!(record.contains(&expected), "{expected} in {record}");
        }
    });
}

#[test]
fn kernels_have_names_and_times_where_nsight_compute_is_installed() {
    // Its own arguments end where the program's path begins; the table's is behind --log-file.
    let script = r#"while [ "$1" != --log-file ]; do shift; done
        printf '"ID","Kernel Name","gpu__time_duration.sum"\n"","","ns"\n"0","a_kernel","2000"\n' > "$2"
        shift 2; exec "$@""#;
    with_program("ncu", script, |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "profile"], &[("PATH", path)]);
        assert_eq!(code, Some(0), "{stderr}\n{record}");
        assert!(record.contains("| `a_kernel` | 1 | 2.0 | 2.0 to 2.0 | 0.5 | 0 |"), "{record}");
    });
    with_program("ncu", "echo ==ERROR== ERR_NVGPUCTRPERM; exit 1", |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "profile"], &[("PATH", path)]);
        assert_eq!(code, Some(0), "{stderr}\n{record}");
        let expected = "| not done | Nsight Compute: times by kernel | it failed:  ==ERROR== ERR_NVGPUCTRPERM |";
        assert!(record.contains(expected), "{record}");
    });
}

#[test]
fn what_the_sanitizer_finds_fails_the_check() {
    with_program("compute-sanitizer", "echo '========= Invalid __global__ read'; exit 86", |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "sanitizer"], &[("PATH", path)]);
        assert_eq!(code, Some(1), "{stderr}\n{record}");
        let expected = "| FAIL | compute-sanitizer: memcheck | it found: ========= Invalid __global__ read |";
        assert!(record.contains(expected), "{record}");
        assert!(record.contains("| FAIL | compute-sanitizer: synccheck |"), "{record}");
    });
}

#[test]
fn a_sanitizer_without_an_end_is_not_done_and_gone() {
    let script = "[ \"$1\" = --help ] && exit; touch \"$0.begun\"; sleep 600";
    with_program("compute-sanitizer", script, |path| {
        let arguments = ["--only", "sanitizer", "--deadline", "2"];
        let Checked { code, stderr, record } = gpu_check(&arguments, &[("PATH", path)]);
        assert_eq!(code, Some(0), "{stderr}\n{record}");
        let expected = "| not done | compute-sanitizer: memcheck | the deadline of 2 s was over |";
        assert!(record.contains(expected), "{record}");
    });
}

#[test]
fn clocks_and_power_stand_beside_what_was_measured() {
    let script = "echo '345, 2619, 70.1, 30, P0'; echo '1980, 2619, 655.3, 50, P0'; exec sleep 600";
    with_program("nvidia-smi", script, |path| {
        let Checked { code, stderr, record } = gpu_check(&["--only", "bench"], &[("PATH", path)]);
        assert_eq!(code, Some(0), "{stderr}\n{record}");
        let expected = "| bench: the step | at most power | 1980 | 2619 | 655.3 | 50 | P0 |";
        assert!(record.contains(expected), "{expected} in {record}");
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
