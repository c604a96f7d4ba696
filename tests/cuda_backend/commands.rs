//! What the commands do with a GPU beside training as it is: evaluate, predict, tune, and what a step calls.

use std::process::Command;

use serde_json::Value;

use crate::run::{Bench, Ran};

fn trained(bench: &Bench) -> Ran {
    let ran = bench.train("trained", &[], &[]);
    ran.assert_done();
    ran
}

#[test]
fn evaluate_measures_what_the_cpu_measures() {
    let bench = Bench::new();
    let checkpoint = trained(&bench).checkpoint(12);
    for views in ["1", "10"] {
        let [gpu, cpu] = ["cuda", "cpu"].map(|device| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_evaluate"));
            command.arg("--shards").arg(bench.path("shards")).arg("--checkpoint").arg(&checkpoint);
            // The last batch is short: 16 images in batches of 7 views.
            command.args(["--views", views, "--batch-size", "7", "--json", "--device", device]);
            let ran = bench.finish(command, &format!("evaluated-{views}-{device}"), &[]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            serde_json::from_str::<Value>(&ran.stdout).expect("JSON")
        });
        assert_eq!(gpu["num_samples"], 16);
        // bf16 may turn one of the sixteen images.
        let error = |report: &Value| report["top1_error"].as_f64().expect("an error rate");
        assert!((error(&gpu) - error(&cpu)).abs() <= 1.0 / 16.0, "{gpu} {cpu}");
    }
}

#[test]
fn predict_sees_what_the_cpu_sees() {
    let bench = Bench::new();
    let checkpoint = trained(&bench).checkpoint(12);
    let picture = bench.path("picture.png");
    image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8 * 3, y as u8 * 4, 90]))
        .save(&picture)
        .expect("a picture");
    let [gpu, cpu] = ["cuda", "cpu"].map(|device| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_predict"));
        command.arg("--checkpoint").arg(&checkpoint).arg(&picture).args(["--json", "--device", device]);
        let ran = bench.finish(command, &format!("predicted-{device}"), &[]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let predictions: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let classes = predictions[0]["classes"].as_array().expect("classes").clone();
        let mut of_class: Vec<_> = classes
            .iter()
            .map(|likely| (likely["class"].to_string(), likely["probability"].as_f64().expect("a probability")))
            .collect();
        of_class.sort_by(|one, other| one.0.cmp(&other.0));
        of_class
    });
    assert_eq!(gpu.len(), 4);
    for (gpu, cpu) in gpu.iter().zip(&cpu) {
        // Logits of bf16 factors are within 0.01.
        assert!(gpu.0 == cpu.0 && (gpu.1 - cpu.1).abs() < 0.01, "{gpu:?} {cpu:?}");
    }
}

#[test]
fn tuning_times_each_convolution_and_product_once_and_remembers() {
    let bench = Bench::new();
    let plain = trained(&bench);
    let find = "cudnnFindConvolutionForwardAlgorithm";
    assert_eq!(plain.calls(find), 0);
    let first = bench.train("tuned", &["--tune"], &[]);
    first.assert_done();
    // So narrow, conv3, conv4 and conv5 are alike.
    assert_eq!(first.calls(find), 3);
    let second = bench.train("tuned-again", &["--tune"], &[]);
    second.assert_done();
    assert_eq!(second.calls(find), 0, "remembered");
    // Products of fc6, fc7 and fc8, each in three directions and with two algorithms.
    let timed = first.calls("cublasLtMatmul") - second.calls("cublasLtMatmul");
    assert!(timed >= 3 * 3 * 2 * 5, "{timed}");
    // The fastest answer is one that does not repeat its bits, and must not be taken; there is one other.
    assert!(first.last_checkpoint() == plain.last_checkpoint());
    std::fs::write(bench.path("cache/tuning.json"), "{").expect("the cache");
    let damaged = bench.train("damaged", &["--tune"], &[]);
    assert_eq!(damaged.code, Some(1), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("tuning.json") && damaged.stderr.contains("delete it"), "{}", damaged.stderr);
}

#[test]
fn a_step_allocates_nothing_and_waits_for_nothing_but_statistics() {
    let bench = Bench::new();
    let run = |steps: &str| {
        let ran = bench.train(&format!("steps-{steps}"), &["--synthetic", "--steps", steps], &[]);
        ran.assert_done();
        ran
    };
    let (short, long) = (run("8"), run("24"));
    let Value::Object(calls) = &long.report["calls"] else { panic!("{}", long.report) };
    let grown: Vec<_> = calls
        .keys()
        .map(|function| (function.as_str(), long.calls(function) - short.calls(function)))
        .filter(|(_, more)| *more > 0)
        .collect();
    // Sixteen more steps, each: wait for the slot, record the beginning, copy images and labels, record the end; wait
    // for the slot, launch the numbers and the arranging, record. On the compute stream itself: wait for that, record,
    // launch the graph, record. The host waits for the batch it fills anew, and for the statistics, which the times are
    // read after.
    let expected = [
        ("cuEventElapsedTime_v2", 4 * 16),
        ("cuEventRecord", 5 * 16),
        ("cuEventSynchronize", 3 * 16),
        ("cuGraphLaunch", 16),
        ("cuLaunchKernel", 2 * 16),
        ("cuMemcpyHtoDAsync_v2", 2 * 16),
        ("cuStreamWaitEvent", 3 * 16),
    ];
    assert_eq!(grown, expected);
}

#[test]
fn compiled_kernels_are_kept() {
    let bench = Bench::new();
    let first = trained(&bench);
    let again = bench.train("again", &[], &[]);
    again.assert_done();
    assert_eq!((first.calls("nvrtcCompileProgram"), again.calls("nvrtcCompileProgram")), (1, 0));
    // A file that is not what was written is compiled anew.
    let kept = std::fs::read_dir(bench.path("cache")).expect("the cache").flatten().map(|entry| entry.path());
    for path in kept {
        let mut bytes = std::fs::read(&path).expect("a CUBIN");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("a CUBIN");
    }
    let damaged = bench.train("damaged", &[], &[]);
    damaged.assert_done();
    assert_eq!(damaged.calls("nvrtcCompileProgram"), 1);
}
