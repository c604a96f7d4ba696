//! Faults asked for.

use cudarc::driver::sys::CUresult;

use super::session::{OK, Session};
use crate::driver::context::cuCtxSynchronize;
use crate::driver::memory::cuMemAlloc_v2;
use crate::driver::stream::cuStreamSynchronize;

fn allocate() -> CUresult {
    unsafe { cuMemAlloc_v2(&mut 0, 1) }
}

#[test]
fn the_nth_call_fails_and_no_other() {
    let _session = Session::new("fail=cuMemAlloc_v2:2");
    assert_eq!([allocate(), allocate(), allocate()], [OK, CUresult::CUDA_ERROR_OUT_OF_MEMORY, OK]);
}

#[test]
fn every_call_from_the_nth_on_fails_as_told() {
    let _session = Session::new("fail=cuMemAlloc_v2:*2:CUDA_ERROR_INVALID_VALUE,cuCtxSynchronize:*:CUDA_ERROR_UNKNOWN");
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    assert_eq!([allocate(), allocate(), allocate()], [OK, invalid, invalid]);
    assert_eq!(unsafe { cuCtxSynchronize() }, CUresult::CUDA_ERROR_UNKNOWN);
}

#[test]
fn a_launch_failure_lasts() {
    let session = Session::new("fail=cuStreamSynchronize:1");
    let stream = session.stream();
    assert_eq!(unsafe { cuStreamSynchronize(stream) }, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert_eq!(allocate(), CUresult::CUDA_ERROR_LAUNCH_FAILED);
}
