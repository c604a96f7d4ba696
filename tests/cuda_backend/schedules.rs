//! However late streams, copies and events come, a run is the same to the bit, and near the CPU's.

use crate::run::{Bench, is_whole};

/// The schedules of the simulated CUDA; stream 1 is the compute stream.
pub const SCHEDULES: [&str; 8] =
    ["prompt", "late-copies", "late-compute", "late-events", "late-stream:1", "random:1", "random:2", "random:3"];

#[test]
fn every_schedule_gives_the_same_bits() {
    let bench = Bench::new();
    let expected = bench.train("prompt", &[], &[("SCHEDULE", "prompt")]);
    expected.assert_done();
    for schedule in &SCHEDULES[1..] {
        let ran = bench.train(schedule, &[], &[("SCHEDULE", schedule)]);
        ran.assert_done();
        assert!(ran.last_checkpoint() == expected.last_checkpoint(), "{schedule}");
    }
}

#[test]
fn recorded_steps_give_the_bits_of_launched_ones() {
    let bench = Bench::new();
    let [recorded, launched] =
        [&[][..], &["--no-graph"]].map(|arguments| bench.train(&format!("run{}", arguments.len()), arguments, &[]));
    recorded.assert_done();
    launched.assert_done();
    assert!(recorded.report["calls"]["cuGraphLaunch"].as_u64() > Some(0), "{}", recorded.report["calls"]);
    assert!(launched.report["calls"]["cuGraphLaunch"].as_u64().is_none(), "{}", launched.report["calls"]);
    assert!(recorded.last_checkpoint() == launched.last_checkpoint());
}

#[test]
fn recorded_steps_keep_their_streams_priorities() {
    let ran = Bench::new().train("run", &[], &[]);
    ran.assert_done();
    // Of compute, gradients, updates.
    assert_eq!(ran.report["graph_priorities"], serde_json::json!([-2, -1, 0]));
}

#[test]
fn convolution_bias_and_relu_are_separate_where_cudnn_has_no_kernel_for_all() {
    let bench = Bench::new();
    let whole = bench.train("whole", &["--precision", "f32"], &[]);
    let refused = "cudnnConvolutionBiasActivationForward:*:CUDNN_STATUS_NOT_SUPPORTED";
    let parts = bench.train("parts", &["--precision", "f32"], &[("FAIL", refused)]);
    whole.assert_done();
    parts.assert_done();
    assert!(!whole.stderr.contains("one by one"), "{}", whole.stderr);
    // conv3 and conv4.
    assert_eq!(parts.stderr.matches("convolution, bias and ReLU are computed one by one").count(), 2);
    // In f32 nothing is rounded between them.
    assert!(whole.last_checkpoint() == parts.last_checkpoint());
}

#[test]
fn another_algorithm_is_taken_where_the_known_one_is_not_reproducible_or_cudnn_cannot_say_what_it_needs() {
    let bench = Bench::new();
    let expected = bench.train("known", &[], &[]);
    expected.assert_done();
    assert!(!expected.stderr.contains("warning"), "{}", expected.stderr);
    let unknown = "cudnnGetConvolutionForwardWorkspaceSize:1:CUDNN_STATUS_INTERNAL_ERROR";
    let settings = [("UNREPEATABLE", "1", 0), ("FAIL", unknown, 1)];
    for (name, value, num_warnings) in settings {
        let ran = bench.train(name, &[], &[(name, value)]);
        ran.assert_done();
        let warnings = ran.stderr.matches("warning: cuda: asking cuDNN for an algorithm's working memory failed");
        assert_eq!(warnings.count(), num_warnings, "{}", ran.stderr);
        // The simulated algorithms compute the same.
        assert!(ran.last_checkpoint() == expected.last_checkpoint(), "{name}");
    }
}

#[test]
fn losses_are_the_cpus_within_the_precision() {
    let bench = Bench::new();
    let cpu = bench.train("cpu", &["--device", "cpu"], &[]).losses();
    // Roundings of 2^-24, 2^-11 and 2^-8 in three steps; the loss's steepest fall multiplies them in the nine that
    // follow.
    for (precision, first, later) in [("f32", 1e-4, 1e-2), ("tf32", 5e-3, 0.1), ("bf16", 0.03, 0.2)] {
        let ran = bench.train(precision, &["--precision", precision], &[]);
        ran.assert_done();
        let losses = ran.losses();
        assert_eq!(losses.len(), cpu.len());
        for (step, (ours, theirs)) in losses.iter().zip(&cpu).enumerate() {
            let tolerance = if step < 3 { first } else { later };
            println!("{precision}, {step}: {ours:.5} {theirs:.5}, {:.1e}", (ours - theirs).abs());
            assert!((ours - theirs).abs() < tolerance, "{precision}, {step}: {ours} {theirs}");
        }
    }
}

#[test]
fn a_run_goes_on_from_the_other_devices_checkpoint() {
    let bench = Bench::new();
    let stop = ["--steps", "5", "--precision", "f32"];
    for (first, second) in [("cpu", "cuda"), ("cuda", "cpu")] {
        let name = format!("from-{first}");
        let begun = bench.train(&name, &[&stop[..], &["--device", first]].concat(), &[]);
        assert_eq!(begun.code, Some(0), "{}", begun.stderr);
        assert!(is_whole(&begun.checkpoint(5)));
        let resumed = bench.train(&name, &["--resume", "--precision", "f32", "--device", second], &[]);
        assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
        assert!(resumed.last_checkpoint().is_some());
    }
}

#[test]
fn a_run_that_was_stopped_on_the_gpu_goes_on_bit_for_bit() {
    let bench = Bench::new();
    let whole = bench.train("whole", &[], &[]);
    bench.train("stopped", &["--steps", "7"], &[]).assert_done();
    let resumed = bench.train("stopped", &["--resume"], &[]);
    resumed.assert_done();
    assert!(resumed.last_checkpoint() == whole.last_checkpoint());
}
