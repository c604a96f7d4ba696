//! Every call may fail, the first time or later: the run ends with one clear error, without a panic, a hang or a leak,
//! and what it had written is whole.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::run::{Bench, Ran, is_whole};

/// Calls whose failure is no fault of the run: it has ended by then, goes on without what they free, or does without
/// locked pages or cuDNN's kernel for several things at once. They warn.
fn only_warns(function: &str) -> bool {
    let words = ["Destroy", "Free", "Register", "BiasActivation", "Unregister", "Unload", "Release"];
    words.iter().any(|word| function.contains(word))
}

/// Questions to which "not supported" is an answer: the heuristics name another algorithm.
fn may_say_no(function: &str) -> bool {
    function.ends_with("WorkspaceSize")
}

/// Calls that have no way to say that they failed.
const NEVER_FAIL: [&str; 4] =
    ["cudnnGetVersion", "cublasLtGetVersion", "cudnnGetErrorString", "cudnnGetLastErrorString"];

fn assert_ends_well(function: &str, call: u64, ran: &Ran) {
    let what = format!("{function}, call {call}");
    assert!(!ran.stderr.contains("panicked"), "{what}: {}", ran.stderr);
    if may_say_no(function) {
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
        assert!(ran.report["calls"].to_string().contains("Algorithm_v7"), "{what}: {}", ran.report["calls"]);
        return;
    }
    if only_warns(function) {
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
        let says = |line: &str| {
            line.starts_with("warning: ") && line.contains(&format!("{} failed", function.trim_end_matches("_v2")))
        };
        assert_eq!(ran.stderr.lines().filter(|line| says(line)).count(), 1, "{what}: {}", ran.stderr);
        return;
    }
    // A context that could not be made current on an input thread leaves that batch's pages locked, and says so.
    let warned = ran.code == Some(0) && function == "cuCtxSetCurrent" && ran.stderr.contains("warning: ");
    if !warned {
        assert_eq!(ran.code, Some(1), "{what}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("error: ").count(), 1, "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("error: cuda: "), "{what}: {}", ran.stderr);
        assert!(ran.alive().is_empty(), "{what} left: {:?}", ran.alive());
    }
    for step in [0, 6, 12] {
        let path = ran.checkpoint(step);
        assert!(!path.exists() || is_whole(&path), "{what}: {}", path.display());
    }
}

/// How often each function is called by a run.
fn calls(bench: &Bench) -> BTreeMap<String, u64> {
    let ran = bench.train("counted", &[], &[]);
    ran.assert_done();
    let Value::Object(calls) = &ran.report["calls"] else { panic!("{}", ran.report) };
    calls.iter().map(|(function, count)| (function.clone(), count.as_u64().expect("a count"))).collect()
}

/// Fails the calls that `pick` chooses out of how many there are, one a run; of every second function, so that two
/// tests share them.
fn assert_all_end_well(part: usize, pick: fn(u64) -> u64) {
    let bench = Bench::new();
    let calls = calls(&bench);
    assert!(calls.len() > 50, "{calls:?}");
    for (function, count) in calls.iter().skip(part).step_by(2) {
        if NEVER_FAIL.contains(&function.as_str()) {
            continue;
        }
        if function.starts_with("nvrtc") {
            // They are called where nothing is cached.
            let _ = std::fs::remove_dir_all(bench.path("cache"));
        }
        let call = pick(*count);
        let ran = bench.train("failed", &[], &[("FAIL", &format!("{function}:{call}"))]);
        assert_ends_well(function, call, &ran);
        if bench.path("failed").exists() {
            ran.forget();
        }
    }
}

#[test]
fn the_first_call_of_each_function_may_fail() {
    assert_all_end_well(0, |_| 1);
}

#[test]
fn the_first_call_of_every_other_function_may_fail() {
    assert_all_end_well(1, |_| 1);
}

#[test]
fn a_later_call_of_each_function_may_fail() {
    assert_all_end_well(0, |count| count.div_ceil(2));
}

#[test]
fn a_later_call_of_every_other_function_may_fail() {
    assert_all_end_well(1, |count| count.div_ceil(2));
}

#[test]
fn a_card_without_room_says_what_for_and_what_to_do() {
    let bench = Bench::new();
    let ran = bench.train("full", &[], &[("MEMORY", "1000000")]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for expected in ["MB for", "are free", "--batch-size", "CUDA_ERROR_OUT_OF_MEMORY"] {
        assert!(ran.stderr.contains(expected), "{expected} in {}", ran.stderr);
    }
    assert!(ran.alive().is_empty(), "{:?}", ran.alive());
}

#[test]
fn a_run_goes_on_after_the_device_failed() {
    let bench = Bench::new();
    let whole = bench.train("whole", &[], &[]);
    let failed = bench.train("failed", &[], &[("FAIL", "cuGraphLaunch:9")]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(is_whole(&failed.checkpoint(6)), "the first epoch's checkpoint");
    let resumed = bench.train("failed", &["--resume"], &[]);
    resumed.assert_done();
    assert!(resumed.last_checkpoint() == whole.last_checkpoint());
}

#[test]
fn batches_whose_pages_cannot_be_locked_go_through_a_buffer() {
    let bench = Bench::new();
    let expected = bench.train("locked", &[], &[]);
    let refused = "cuMemHostRegister_v2:*:CUDA_ERROR_OUT_OF_MEMORY";
    for schedule in ["prompt", "late-copies"] {
        let ran = bench.train(schedule, &[], &[("FAIL", refused), ("SCHEDULE", schedule)]);
        ran.assert_done();
        // Once a slot.
        assert_eq!(ran.stderr.matches("batches are copied twice").count(), 2, "{}", ran.stderr);
        assert!(ran.last_checkpoint() == expected.last_checkpoint(), "{schedule}");
    }
}
