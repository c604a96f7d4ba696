//! Every event matters: each wait left out, each record moved before the work it marks, each wait of the host that ends early makes a run
//! wrong in some schedule. The list is printed, mutation by mutation (`--nocapture`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::run::{Bench, Ran};
use crate::schedules::SCHEDULES;

/// Streams, in the order in which the backend makes them.
const STREAMS: [&str; 3] = ["copy", "compute", "side"];

/// What an event is, by the order in which the backend makes them; none for those that only tell times.
fn role(event: u64) -> Option<String> {
    Some(match event {
        1 => "uploaded (even)".into(),
        3 => "finished (even)".into(),
        5 => "uploaded (odd)".into(),
        7 => "finished (odd)".into(),
        8..=15 => format!("gradients_ready of layer {}", event - 8),
        16 => "updated".into(),
        _ => return None,
    })
}

/// From a mutation to its description, all that a run of this backend can suffer.
fn mutations(report: &Value) -> BTreeMap<String, String> {
    let list = |key: &str| report[key].as_array().expect("the simulated CUDA's report").clone();
    let number = |entry: &Value, key: &str| entry[key].as_u64().expect("an ordinal");
    let mut mutations = BTreeMap::new();
    for wait in list("waits") {
        let (stream, event) = (number(&wait, "stream"), number(&wait, "event"));
        let role = role(event).unwrap_or_else(|| panic!("a wait for event {event}, which only tells the time"));
        let stream_name = STREAMS[stream as usize];
        mutations.insert(format!("skip-wait:{stream}:{event}"), format!("{stream_name} does not wait for {role}"));
    }
    for record in list("records") {
        let event = number(&record, "event");
        if let Some(role) = role(event) {
            mutations.insert(format!("early-record:{event}"), format!("{role} is recorded before what it marks"));
        }
    }
    for sync in list("syncs") {
        let event = number(&sync, "event");
        if let Some(role) = role(event) {
            mutations.insert(format!("early-sync:{event}"), format!("the host does not wait for {role}"));
        }
    }
    mutations
}

/// The schedule in which the mutation makes the run fail or end elsewhere.
fn caught(bench: &Bench, mutation: &str, expected: &Ran) -> Option<&'static str> {
    SCHEDULES.into_iter().find(|schedule| {
        let ran = bench.train("mutated", &[], &[("SCHEDULE", schedule), ("MUTATE", mutation)]);
        let is_caught = ran.code != Some(0) || ran.last_checkpoint() != expected.last_checkpoint();
        ran.forget();
        is_caught
    })
}

fn assert_all_caught(kind: &str, at_least: usize) {
    let bench = Bench::new();
    let expected = bench.train("expected", &[], &[]);
    expected.assert_done();
    let mutations: Vec<_> =
        mutations(&expected.report).into_iter().filter(|(mutation, _)| mutation.starts_with(kind)).collect();
    assert!(mutations.len() >= at_least, "{mutations:?}");
    let mut missed = Vec::new();
    for (mutation, description) in &mutations {
        let schedule = caught(&bench, mutation, &expected);
        println!("{description}: {}", schedule.map_or("not caught".into(), |schedule| format!("caught by {schedule}")));
        missed.extend(schedule.is_none().then_some(description));
    }
    assert!(missed.is_empty(), "in no schedule do these matter: {missed:#?}");
}

#[test]
fn every_wait_of_a_stream_matters() {
    // Two slots' uploads and ends, eight layers' gradients, and the end of the updates.
    assert_all_caught("skip-wait", 13);
}

#[test]
fn every_record_comes_after_what_it_marks() {
    assert_all_caught("early-record", 13);
}

#[test]
fn every_wait_of_the_host_matters() {
    // A host batch given back too early, statistics read too early.
    assert_all_caught("early-sync", 4);
}
