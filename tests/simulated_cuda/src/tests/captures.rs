//! Captures and graphs.

use cudarc::driver::sys::{CUgraph, CUgraphExec, CUresult, CUstream, CUstreamCaptureMode, CUstreamCaptureStatus};

use super::session::{OK, Session};
use crate::driver::capture::{
    cuGraphDestroy, cuGraphExecDestroy, cuGraphGetNodes, cuGraphInstantiateWithFlags, cuGraphLaunch,
    cuStreamBeginCapture_v2, cuStreamEndCapture,
};
use crate::driver::copy::cuMemcpyDtoDAsync_v2;
use crate::driver::event::{cuEventQuery, cuEventSynchronize};
use crate::driver::memory::{cuMemAlloc_v2, cuMemFree_v2};
use crate::driver::stream::{cuStreamIsCapturing, cuStreamSynchronize, cuStreamWaitEvent};

fn begin(stream: CUstream) {
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    assert_eq!(unsafe { cuStreamBeginCapture_v2(stream, mode) }, OK);
}

fn end(stream: CUstream) -> Result<CUgraph, CUresult> {
    let mut graph = std::ptr::null_mut();
    match unsafe { cuStreamEndCapture(stream, &mut graph) } {
        OK => Ok(graph),
        error => {
            assert!(graph.is_null());
            Err(error)
        }
    }
}

fn instantiate(graph: CUgraph) -> CUgraphExec {
    let mut executable = std::ptr::null_mut();
    assert_eq!(unsafe { cuGraphInstantiateWithFlags(&mut executable, graph, 0) }, OK);
    executable
}

fn copy(to: u64, from: u64, stream: CUstream) {
    assert_eq!(unsafe { cuMemcpyDtoDAsync_v2(to, from, 1, stream) }, OK);
}

/// Captures a -> b on the first stream, b -> c on the second, c -> d on the first; the fork and the join may be left
/// out of the order. Returns d after a replay.
fn forked(settings: &str) -> (u8, Vec<String>) {
    let session = Session::new(settings);
    let (main, side) = (session.stream(), session.stream());
    let (fork, join) = (session.event(), session.event());
    let [a, b, c, d] = [7u8, 1, 2, 3].map(|value| session.uploaded(&[value]));
    begin(main);
    // The side stream joins the capture before the first copy, so that the mutation of the later wait leaves a valid
    // graph.
    session.record(fork, main);
    session.wait(side, fork);
    copy(b, a, main);
    session.record(fork, main);
    session.wait(side, fork);
    copy(c, b, side);
    session.record(join, side);
    session.wait(main, join);
    copy(d, c, main);
    let graph = end(main).expect("all forks are joined");
    assert_eq!([a, b, c, d].map(|address| session.peek::<u8>(address, 1)[0]), [7, 1, 2, 3], "a capture runs nothing");
    let mut num_nodes = 0;
    assert_eq!(unsafe { cuGraphGetNodes(graph, std::ptr::null_mut(), &mut num_nodes) }, OK);
    assert_eq!(num_nodes, 3);
    let executable = instantiate(graph);
    assert_eq!(unsafe { cuGraphDestroy(graph) }, OK);
    assert_eq!(unsafe { cuGraphLaunch(executable, main) }, OK);
    session.finish(main);
    assert_eq!(unsafe { cuGraphExecDestroy(executable) }, OK);
    assert_eq!(session.report()["alive"]["executables"], 0);
    (session.peek(d, 1)[0], session.violations())
}

#[test]
fn a_graph_replays_in_the_captured_order_in_every_schedule() {
    for schedule in
        ["prompt", "late-copies", "late-stream:0", "late-stream:1", "lazy", "random:1", "random:2", "random:3"]
    {
        assert_eq!(forked(&format!("schedule={schedule}")), (7, vec![]), "{schedule}");
    }
}

#[test]
fn a_missing_order_in_a_graph_shows_in_some_schedule() {
    let early = |schedule: &str| forked(&format!("schedule={schedule} mutate=early-record:0")).0;
    assert_eq!(early("late-stream:0"), 1, "the side stream copied b before it was written");
}

#[test]
fn a_fork_that_is_not_joined_ends_the_capture() {
    let session = Session::new("");
    let (main, side, event) = (session.stream(), session.stream(), session.event());
    let (a, b) = (session.device(1), session.device(1));
    begin(main);
    session.record(event, main);
    session.wait(side, event);
    copy(a, b, side);
    assert_eq!(end(main), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
    // Both streams work again.
    copy(a, b, side);
    copy(a, b, main);
    session.finish_all();
}

#[test]
fn an_event_from_outside_breaks_the_isolation() {
    let session = Session::new("");
    let (main, event) = (session.stream(), session.event());
    session.record(event, main);
    begin(main);
    assert_eq!(unsafe { cuStreamWaitEvent(main, event, 0) }, CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    let mut status = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    assert_eq!(unsafe { cuStreamIsCapturing(main, &mut status) }, OK);
    assert_eq!(status, CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    assert_eq!(end(main), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn a_sync_or_an_allocation_ends_the_capture() {
    let unsupported = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    let calls: [fn(CUstream) -> CUresult; 2] =
        [|stream| unsafe { cuStreamSynchronize(stream) }, |_| unsafe { cuMemAlloc_v2(&mut 0, 1) }];
    for call in calls {
        let session = Session::new("");
        let main = session.stream();
        begin(main);
        assert_eq!(call(main), unsupported);
        assert_eq!(end(main), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
    }
}

#[test]
fn another_thread_may_allocate_meanwhile() {
    let session = Session::new("");
    let main = session.stream();
    begin(main);
    std::thread::scope(|scope| {
        scope.spawn(|| unsafe {
            crate::driver::context::cuCtxSetCurrent((0x500u64 << 40) as _);
            assert_eq!(cuMemAlloc_v2(&mut 0, 1), OK);
        });
    });
    assert!(end(main).is_ok());
}

#[test]
fn a_captured_event_cannot_be_waited_for_by_the_host() {
    let session = Session::new("");
    let (main, event) = (session.stream(), session.event());
    begin(main);
    session.record(event, main);
    assert!(end(main).is_ok());
    assert_eq!(unsafe { cuEventQuery(event) }, CUresult::CUDA_ERROR_CAPTURED_EVENT);
    assert_eq!(unsafe { cuEventSynchronize(event) }, CUresult::CUDA_ERROR_CAPTURED_EVENT);
}

#[test]
fn a_graph_that_uses_freed_memory_is_found_at_its_launch() {
    let session = Session::new("");
    let main = session.stream();
    let (a, b) = (session.device(1), session.device(1));
    begin(main);
    copy(a, b, main);
    let executable = instantiate(end(main).expect("a valid capture"));
    assert_eq!(unsafe { cuMemFree_v2(b) }, OK);
    assert_eq!(unsafe { cuGraphLaunch(executable, main) }, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}
