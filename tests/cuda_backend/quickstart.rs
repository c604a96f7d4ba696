//! The quickstart's real images on the simulated CUDA.

use std::path::PathBuf;

use crate::run::Bench;
use crate::schedules::SCHEDULES;

/// Where tools/quickstart leaves its dataset.
fn shards() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("quickstart/shards")
}

#[test]
#[ignore = "needs the dataset of tools/quickstart; .ci/run runs it after that"]
fn the_quickstarts_images_train_as_on_the_cpu_in_every_schedule() {
    let shards = shards();
    assert!(shards.join("dataset.json").exists(), "{}: not there; run tools/quickstart first", shards.display());
    let bench = Bench::of(&shards);
    // The paper's geometry, the network eight channels wide and more.
    let arguments = ["--set", "augment.crop=224", "--set", "augment.canvas=227", "--width", "0.0625", "--steps", "6"];
    let cpu = bench.train("cpu", &[&arguments[..], &["--device", "cpu"]].concat(), &[]).losses();
    assert_eq!(cpu.len(), 6);
    // Relative. A GPU's inputs are f16, rounded to 2^-11 where the CPU's are f32; the first steps of a run multiply
    // every rounding.
    for (precision, tolerance) in [("f32", 0.02), ("tf32", 0.05), ("bf16", 0.1)] {
        let of_precision = [&arguments[..], &["--precision", precision]].concat();
        let expected = bench.train(precision, &of_precision, &[]);
        expected.assert_done();
        for (step, (ours, theirs)) in expected.losses().iter().zip(&cpu).enumerate() {
            println!("{precision}, step {step}: {ours:.5}, on the CPU {theirs:.5}");
            assert!((ours - theirs).abs() < tolerance * theirs, "{precision}, step {step}: {ours} {theirs}");
        }
        for schedule in SCHEDULES {
            let ran = bench.train("scheduled", &of_precision, &[("SCHEDULE", schedule)]);
            ran.assert_done();
            assert!(std::fs::read(ran.checkpoint(6)).ok() == std::fs::read(expected.checkpoint(6)).ok(), "{schedule}");
            ran.forget();
        }
    }
}
