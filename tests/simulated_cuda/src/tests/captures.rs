//! What captures and graphs forbid. That a graph keeps the captured order, and no more than that, is shown by
//! tests/cuda_backend, whose steps are graphs of two streams.

use cudarc::driver::sys::{CUgraph, CUresult, CUstream, CUstreamCaptureMode};

use super::session::{OK, Session};
use crate::driver::capture::{cuGraphInstantiateWithFlags, cuGraphLaunch, cuStreamBeginCapture_v2, cuStreamEndCapture};
use crate::driver::context::cuCtxSetCurrent;
use crate::driver::copy::cuMemcpyDtoDAsync_v2;
use crate::driver::event::{cuEventQuery, cuEventSynchronize};
use crate::driver::memory::{cuMemAlloc_v2, cuMemFree_v2};
use crate::driver::stream::{cuStreamSynchronize, cuStreamWaitEvent};

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

fn copy(to: u64, from: u64, stream: CUstream) {
    assert_eq!(unsafe { cuMemcpyDtoDAsync_v2(to, from, 1, stream) }, OK);
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
            cuCtxSetCurrent((0x500u64 << 40) as _);
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
    let (graph, mut executable) = (end(main).expect("a valid capture"), std::ptr::null_mut());
    assert_eq!(unsafe { cuGraphInstantiateWithFlags(&mut executable, graph, 0) }, OK);
    assert_eq!(unsafe { cuMemFree_v2(b) }, OK);
    assert_eq!(unsafe { cuGraphLaunch(executable, main) }, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}
