//! The command `bench`: its contract, for every stage and for a device of chosen times.

use std::path::Path;
use std::process::Command;

use alexnet::synthetic::dataset::coloured_dataset;
use serde_json::Value;

/// Short rounds on a network of 67 x 67 inputs; nothing here depends on how fast they are.
const SHORT: &str =
    "--rounds 2 --seconds 0.05 --width 0.05 --batch-size 4 --set augment.crop=64 --set augment.canvas=67";

fn dataset() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    coloured_dataset(folder.path(), 18, 0, 3, 1).unwrap();
    folder
}

fn bench(shards: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output = command.arg("--shards").arg(shards).args(SHORT.split(' ')).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(shards: &Path, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = bench(shards, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn the_json_has_every_key_of_the_contract() {
    let folder = dataset();
    let report = json(folder.path(), &[]);
    let number = |stage: &str, key: &str| {
        report[stage][key].as_f64().filter(|number| *number > 0.0).unwrap_or_else(|| panic!("{stage}.{key}: {report}"))
    };
    for (stage, key) in [
        ("input", "images_per_second"),
        ("input", "images_per_cpu_second"),
        ("input", "workers"),
        ("device", "images_per_second"),
        ("device", "step_seconds"),
        ("device", "batch_size"),
        ("end_to_end", "images_per_second"),
        ("end_to_end", "ratio_to_slowest_stage"),
        ("memory", "peak_resident_bytes"),
        ("memory", "device_bytes"),
    ] {
        number(stage, key);
    }
    assert_eq!((report["input"]["dtype"].as_str(), report["device"]["precision"].as_str()), (Some("f32"), Some("f32")));
    assert!(report["device"]["device"].as_str().unwrap().starts_with("cpu"), "{report}");
    // The CPU reads batches where the input wrote them.
    assert_eq!(
        (&report["upload"]["images_per_second"], &report["upload"]["transfer"]),
        (&Value::Null, &"no copy".into())
    );
    let slowest =
        if number("input", "images_per_second") < number("device", "images_per_second") { "input" } else { "device" };
    assert_eq!(report["bottleneck"], slowest);
    for stage in ["input", "device", "end_to_end"] {
        let spread = &report[stage]["spread"];
        assert_eq!((&spread["n"], &spread["median"]), (&2.into(), &report[stage]["images_per_second"]));
        assert!(spread["min"].as_f64() <= spread["max"].as_f64());
    }
    // Six batches of four, in f32, and their labels.
    assert_eq!(report["memory"]["input_bytes"], 6 * 4 * (3 * 67 * 67 * 4 + 4));
}

#[test]
fn one_stage_alone_leaves_the_others_out() {
    let folder = dataset();
    for only in ["input", "upload", "device", "end-to-end"] {
        let report = json(folder.path(), &["--only", only]);
        for stage in ["input", "upload", "device", "end-to-end"] {
            assert_eq!(report[stage.replace('-', "_")].is_null(), stage != only, "{only}: {report}");
        }
        assert_eq!(report["bottleneck"], Value::Null);
    }
    let report = json(folder.path(), &["--only", "input", "--dtype", "f16", "--workers", "2"]);
    assert_eq!((&report["input"]["dtype"], &report["input"]["workers"]), (&"f16".into(), &2.into()));
    assert_eq!(report["memory"]["input_bytes"], 6 * 4 * (3 * 67 * 67 * 2 + 4));
}

#[test]
fn a_device_of_chosen_times_is_measured_like_any_other() {
    let folder = dataset();
    let report = json(folder.path(), &["--synthetic-device", "4", "--synthetic-upload", "8"]);
    // How fast it is is the bench's to say: on a busy machine, not even the times it was given hold over a few steps.
    for stage in ["upload", "device", "end_to_end"] {
        assert!(report[stage]["images_per_second"].as_f64().unwrap() > 0.0, "{stage}: {report}");
    }
    assert_eq!((&report["upload"]["transfer"], &report["input"]["dtype"]), (&"copied".into(), &"f16".into()));
}

#[test]
fn the_table_names_every_stage_and_the_bottleneck() {
    let folder = dataset();
    let (code, stdout, _) = bench(folder.path(), &[]);
    assert_eq!(code, 0);
    for expected in ["input ", "upload ", "no copy", "device ", "end to end", "bottleneck", "memory "] {
        assert!(stdout.contains(expected), "{expected} in {stdout}");
    }
}

#[test]
fn wrong_usage_exits_2() {
    let folder = dataset();
    for (arguments, expected) in [
        (&["--only", "disk"][..], "input, upload, device or end-to-end"),
        (&["--dtype", "f16", "--only", "device"], "--only input"),
        (&["--synthetic-device", "fast"], "milliseconds"),
        (&["--quick", "--thorough"], "--thorough"),
        (&["--peers"], "--shards"),
    ] {
        let (code, _, stderr) = bench(folder.path(), arguments);
        assert!(code == 2 && stderr.contains(expected), "{arguments:?}: {code}, {stderr}");
    }
    let (code, _, stderr) = bench(&folder.path().join("nothing"), &[]);
    assert!(code == 1 && stderr.contains("no such folder"), "{stderr}");
}

#[test]
fn the_overlap_is_measured_at_every_ratio() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output = command.args(["--overlap", "--json", "--rounds", "1", "--seconds", "0.01"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 27);
    assert!(cells.iter().all(|cell| cell["step"]["median"].as_f64().unwrap() > 0.0));
    let late = &report["late_milliseconds"];
    assert!(late["n"] == 20 && late["min"].as_f64().unwrap() >= 0.0, "{late}");
}
