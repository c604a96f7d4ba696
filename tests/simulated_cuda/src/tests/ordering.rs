//! Streams and events. That schedules are as late as is legal, and that every wait, record and sync counts, is shown by
//! tests/cuda_backend, in schedules and with mutations.

use cudarc::driver::sys::CUresult;

use super::session::{OK, Session};
use crate::driver::event::{cuEventQuery, cuEventSynchronize};

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
}
