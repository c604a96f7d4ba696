//! The trace of a run can be read, has no overlapping spans in a row, and misses none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use alexnet::synthetic::dataset::coloured_dataset;
use alexnet::trace::{Interval, TraceFile, Track};
use alexnet::train::options::{Data, TrainOptions};
use alexnet::train::server::Address;
use alexnet::train::stop::Stop;
use serde_json::Value;

/// The events of a trace by the name of their row, each as (name, step, begin and end in microseconds).
type Lines = BTreeMap<String, Vec<(String, u64, f64, f64)>>;

fn read(path: &Path) -> Lines {
    let events: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let is_name = |event: &&Value| event["name"] == "thread_name";
    let names: BTreeMap<u64, String> = events
        .iter()
        .filter(is_name)
        .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap().to_owned()))
        .collect();
    let mut lines = Lines::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (begun, took) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        let span =
            (event["name"].as_str().unwrap().into(), event["args"]["step"].as_u64().unwrap(), begun, begun + took);
        lines.entry(names[&event["tid"].as_u64().unwrap()].clone()).or_default().push(span);
    }
    lines
}

fn steps_of(spans: &[(String, u64, f64, f64)], name: &str) -> Vec<u64> {
    let mut steps: Vec<u64> = spans.iter().filter(|span| span.0 == name).map(|span| span.1).collect();
    steps.sort_unstable();
    steps
}

#[test]
fn a_runs_trace_has_every_step_once_and_no_line_does_two_things_at_once() {
    let folder = tempfile::tempdir().unwrap();
    coloured_dataset(folder.path(), 18, 7, 3, 1).unwrap();
    let path = folder.path().join("trace.json");
    let sets = ["augment.crop=64", "augment.canvas=67", "model.width=0.05", "train.batch_size=4", "train.epochs=2"];
    let options = TrainOptions {
        run: Some(folder.path().join("run")),
        sets: sets.map(String::from).to_vec(),
        metrics: Address::Off,
        workers: Some(2),
        trace: Some(path.clone()),
        ..TrainOptions::new(Data::Shards(folder.path().to_path_buf()))
    };
    alexnet::train::train(&options, &Stop::default()).unwrap();
    let mut lines = read(&path);
    for (line, spans) in &mut lines {
        spans.sort_by(|a, b| a.2.total_cmp(&b.2));
        for pair in spans.windows(2) {
            // Times are rounded to the nanosecond, which may put an end after the next beginning.
            assert!(pair[0].3 <= pair[1].2 + 0.002, "{line}: {:?} and {:?}", pair[0], pair[1]);
        }
    }
    let all: Vec<u64> = (0..8).collect();
    assert_eq!(steps_of(&lines["device: steps"], "step"), all);
    for name in ["reclaim", "input wait", "upload", "launch", "statistics wait"] {
        assert_eq!(steps_of(&lines["trainer"], name), all, "{name}");
    }
    assert_eq!(steps_of(&lines["trainer"], "validation"), [4, 8]);
    assert_eq!(steps_of(&lines["trainer"], "checkpoint"), [0, 4, 8]);
    assert_eq!(steps_of(&lines["conveyor"], "buffer wait"), all);
    let workers = lines.iter().filter(|(line, _)| line.starts_with("input worker"));
    let mut filled: Vec<u64> = workers.flat_map(|(_, spans)| steps_of(spans, "fill")).collect();
    filled.sort_unstable();
    filled.dedup();
    assert_eq!(filled, all);
    // A batch is filled before it is uploaded.
    let first_step = lines["device: steps"][0].2;
    assert!(lines.iter().any(|(line, spans)| line.starts_with("input worker") && spans[0].2 < first_step));
}

#[test]
fn what_does_not_fit_the_buffer_is_counted_and_the_rest_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let trace = TraceFile::create(&path).unwrap();
    let (tracer, now) = (trace.tracer(), Instant::now());
    let num_recorded = 200_000;
    for step in 0..num_recorded {
        tracer.span(Track::Trainer, "launch", step, Interval { begun: now, ended: now });
    }
    let summary = trace.finish().unwrap();
    assert_eq!(summary.num_spans + summary.num_dropped, num_recorded);
    assert_eq!(read(&path)["trainer"].len() as u64, summary.num_spans);
}

#[test]
fn a_trace_that_was_not_finished_lacks_nothing_but_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let trace = TraceFile::create(&path).unwrap();
    let now = Instant::now();
    trace.tracer().span(Track::Device, "step", 3, Interval { begun: now, ended: now });
    let written = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        std::fs::read_to_string(&path).unwrap()
    })
    .find(|text| text.contains(r#""name":"step""#))
    .unwrap();
    let events: Vec<Value> = serde_json::from_str(&(written + "]")).unwrap();
    assert_eq!(events.last().unwrap()["args"]["step"], 3);
}

#[test]
fn a_trace_that_cannot_be_created_names_its_path() {
    let error = TraceFile::create(Path::new("/no/such/folder/trace.json")).unwrap_err();
    assert_eq!(error.to_string(), "cannot create /no/such/folder/trace.json");
}
