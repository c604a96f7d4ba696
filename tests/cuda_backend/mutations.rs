//! Every event matters: each wait left out, each record moved before the work it marks, each wait of the host that ends
//! early makes a run wrong in some schedule. The list is printed, mutation by mutation (`--nocapture`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::run::{Bench, Ran};
use crate::schedules::SCHEDULES;

/// Streams, in the order in which the backend makes them.
const STREAMS: [&str; 4] = ["copy", "compute", "gradients", "updates"];

/// What each event is, by the stream that records it and the stream that waits for it, as the table in
/// `src/backend/cuda/mod.rs` has them. Events for which no stream waits, and the host neither, only tell times and are
/// left out.
fn roles(report: &Value) -> BTreeMap<u64, String> {
    let recorded: BTreeMap<u64, u64> =
        list(report, "records").iter().map(|entry| (number(entry, "event"), number(entry, "stream"))).collect();
    let named = list(report, "waits").iter().map(|wait| {
        let event = number(wait, "event");
        let recorded = recorded.get(&event).unwrap_or_else(|| panic!("event {event} is awaited, never recorded"));
        let [by, waiting] = [*recorded, number(wait, "stream")].map(|stream| STREAMS[stream as usize]);
        let name = match (by, waiting) {
            ("copy", "compute") => "arranged_at",
            ("compute", "copy") => "finished",
            ("compute", "gradients") => "losses_ready or tail_done",
            ("compute", "updates") => "weights_read",
            ("gradients", "updates") => "gradient_done",
            ("gradients" | "updates", "compute") => "beside_done",
            _ => panic!("event {event}: {waiting} waits for {by}"),
        };
        (event, format!("{name} (event {event})"))
    });
    // The host also waits once for the clock's event, on another stream.
    let copied = list(report, "syncs").iter().map(|sync| number(sync, "event"));
    let uploaded = copied.filter(|event| recorded.get(event) == Some(&0));
    let uploaded: Vec<_> = uploaded.map(|event| (event, format!("uploaded (event {event})"))).collect();
    named.chain(uploaded).collect()
}

fn list<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().expect("the simulated CUDA's report")
}

fn number(entry: &Value, key: &str) -> u64 {
    entry[key].as_u64().expect("an ordinal")
}

/// From a mutation to its description, all that a run of this backend can suffer.
fn mutations(report: &Value) -> BTreeMap<String, String> {
    let roles = roles(report);
    let mut mutations = BTreeMap::new();
    for wait in list(report, "waits") {
        let (stream, event) = (number(wait, "stream"), number(wait, "event"));
        let (stream_name, role) = (STREAMS[stream as usize], &roles[&event]);
        mutations.insert(format!("skip-wait:{stream}:{event}"), format!("{stream_name} does not wait for {role}"));
    }
    for event in list(report, "records").iter().map(|entry| number(entry, "event")) {
        if let Some(role) = roles.get(&event) {
            mutations.insert(format!("early-record:{event}"), format!("{role} is recorded before what it marks"));
        }
    }
    for event in list(report, "syncs").iter().map(|entry| number(entry, "event")) {
        if let Some(role) = roles.get(&event) {
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
    // Two slots' inputs and ends, the losses, seven layers' tails, eight layers' weight gradients, seven layers' reads
    // of their weights, and the end of what runs beside.
    assert_all_caught("skip-wait", 28);
}

#[test]
fn every_record_comes_after_what_it_marks() {
    assert_all_caught("early-record", 29);
}

#[test]
fn every_wait_of_the_host_matters() {
    // A host batch given back too early, statistics read too early.
    assert_all_caught("early-sync", 4);
}
