//! Streams, events and schedules.

use cudarc::driver::sys::{CUevent, CUresult, CUstream};

use super::session::{OK, Session, configure};
use crate::driver::copy::cuMemcpyDtoDAsync_v2;
use crate::driver::event::{cuEventQuery, cuEventSynchronize};
use crate::driver::stream::cuStreamQuery;

const SCHEDULES: [&str; 9] = [
    "prompt",
    "late-copies",
    "late-compute",
    "late-events",
    "late-stream:0",
    "late-stream:1",
    "lazy",
    "random:1",
    "random:2",
];

/// Two streams and an event: the first uploads 7 over 1, the second copies it on, and the result comes back.
struct HandOver {
    session: Session,
    streams: [CUstream; 2],
    event: CUevent,
}

impl HandOver {
    fn new(settings: &str) -> Self {
        let session = Session::new(settings);
        let streams = [session.stream(), session.stream()];
        let event = session.event();
        Self { session, streams, event }
    }

    fn run(&self, wait: bool) -> u8 {
        let Self { session, streams, event } = self;
        let (source, target) = (session.uploaded(&[1u8]), session.uploaded(&[0u8]));
        let pinned = session.pinned(&[7u8]);
        session.upload(source, pinned, streams[0]);
        session.record(*event, streams[0]);
        if wait {
            session.wait(streams[1], *event);
        }
        assert_eq!(unsafe { cuMemcpyDtoDAsync_v2(target, source, 1, streams[1]) }, OK);
        let answer = session.pinned(&[0u8]);
        session.download(answer, target, streams[1]);
        session.finish(streams[1]);
        let answer = answer[0];
        session.finish_all();
        answer
    }
}

#[test]
fn a_wait_orders_two_streams_in_every_schedule() {
    for schedule in SCHEDULES {
        let answer = HandOver::new(&format!("schedule={schedule}")).run(true);
        assert_eq!(answer, 7, "{schedule}");
    }
}

#[test]
fn a_missing_wait_shows_in_some_schedules() {
    let wrong = |settings: &str, wait: bool| {
        let wrong = |schedule: &&&str| HandOver::new(&format!("schedule={schedule} {settings}")).run(wait) != 7;
        SCHEDULES.iter().filter(wrong).copied().collect::<Vec<_>>()
    };
    let left_out = wrong("", false);
    assert!(left_out.contains(&"late-stream:0") && left_out.contains(&"lazy"), "{left_out:?}");
    // What is random differs: the wait that is left out is not counted among the operations, the one that is skipped
    // is.
    let chosen =
        |schedules: Vec<&'static str>| schedules.into_iter().filter(|it| !it.starts_with("random")).collect::<Vec<_>>();
    let skipped = chosen(wrong("mutate=skip-wait:1:0", true));
    assert_eq!(chosen(left_out), skipped, "the mutation is the same as leaving it out");
    assert!(wrong("mutate=early-record:0", true).contains(&"late-stream:0"));
}

#[test]
fn a_late_copy_reads_pinned_memory_late() {
    let session = Session::new("schedule=late-copies");
    let stream = session.stream();
    let (target, pinned) = (session.device(4), session.pinned(&[1u32]));
    session.upload(target, pinned, stream);
    pinned[0] = 2;
    session.finish(stream);
    assert_eq!(session.peek::<u32>(target, 1), [2]);
}

#[test]
fn a_pageable_copy_is_staged_and_a_violation_where_strict() {
    let session = Session::new("schedule=late-copies strict=1");
    let stream = session.stream();
    let (target, mut pageable) = (session.device(4), vec![1u32]);
    session.upload(target, &pageable, stream);
    pageable[0] = 2;
    session.finish(stream);
    assert_eq!(session.peek::<u32>(target, 1), [1]);
    assert!(session.violations()[0].contains("pageable"), "{:?}", session.violations());
}

#[test]
fn a_wait_is_for_the_record_before_it() {
    let session = Session::new("schedule=late-stream:0");
    let (late, other) = (session.stream(), session.stream());
    let event = session.event();
    let target = session.uploaded(&[0u8]);
    // The first record has nothing before it; the second comes after the wait, and behind a copy.
    session.record(event, late);
    session.wait(other, event);
    let one = session.pinned(&[1u8]);
    session.upload(target, one, late);
    session.record(event, late);
    session.finish(other);
    assert_eq!(session.peek::<u8>(target, 1), [0], "the wait was for the first record");
    assert_eq!(unsafe { cuEventSynchronize(event) }, OK);
    assert_eq!(session.peek::<u8>(target, 1), [1], "the event stands for its last record");
}

#[test]
fn an_event_without_a_record_is_done() {
    let session = Session::new("schedule=lazy");
    let (stream, event) = (session.stream(), session.event());
    assert_eq!(unsafe { cuEventQuery(event) }, OK);
    assert_eq!(unsafe { cuEventSynchronize(event) }, OK);
    session.wait(stream, event);
    session.finish(stream);
}

#[test]
fn polling_comes_to_an_end() {
    let session = Session::new("schedule=lazy");
    let (stream, event) = (session.stream(), session.event());
    let (target, pinned) = (session.device(1), session.pinned(&[9u8]));
    session.upload(target, pinned, stream);
    session.record(event, stream);
    assert_eq!(unsafe { cuEventQuery(event) }, CUresult::CUDA_ERROR_NOT_READY);
    while unsafe { cuEventQuery(event) } == CUresult::CUDA_ERROR_NOT_READY {
        std::thread::yield_now();
    }
    assert_eq!(session.peek::<u8>(target, 1), [9]);
    session.upload(target, pinned, stream);
    while unsafe { cuStreamQuery(stream) } == CUresult::CUDA_ERROR_NOT_READY {
        std::thread::yield_now();
    }
}

#[test]
fn an_early_sync_returns_before_the_copy() {
    let session = Session::new("schedule=late-copies mutate=early-sync:0");
    let (stream, event) = (session.stream(), session.event());
    let (target, pinned) = (session.uploaded(&[0u8]), session.pinned(&[9u8]));
    session.upload(target, pinned, stream);
    session.record(event, stream);
    assert_eq!(unsafe { cuEventSynchronize(event) }, OK);
    assert_eq!(session.peek::<u8>(target, 1), [0]);
    configure("mutate=");
    assert_eq!(unsafe { cuEventSynchronize(event) }, OK);
    assert_eq!(session.peek::<u8>(target, 1), [9]);
}

#[test]
fn waits_records_and_syncs_are_listed_by_ordinals() {
    let over = HandOver::new("");
    over.run(true);
    assert_eq!(unsafe { cuEventSynchronize(over.event) }, OK);
    let report = over.session.report();
    assert_eq!(report["waits"], serde_json::json!([{"stream": 1, "event": 0, "count": 1}]));
    assert_eq!(report["records"], serde_json::json!([{"event": 0, "stream": 0, "count": 1}]));
    assert_eq!(report["syncs"], serde_json::json!([{"event": 0, "count": 1}]));
}
