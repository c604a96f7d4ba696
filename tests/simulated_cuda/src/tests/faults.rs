//! Faults asked for, and the counts of calls.

use cudarc::driver::sys::CUresult;

use super::session::{OK, Session, configure};
use crate::driver::context::{cuCtxSynchronize, cuDeviceGetCount, cuDriverGetVersion, cuInit};
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

#[test]
fn calls_are_counted() {
    let session = Session::new("");
    allocate();
    allocate();
    assert_eq!(session.report()["calls"]["cuMemAlloc_v2"], 2);
    assert_eq!(session.report()["calls"]["cuInit"], 1);
}

#[test]
fn the_device_may_be_old_or_absent() {
    let _session = Session::new("driver=12000");
    let mut value = 0;
    assert_eq!((unsafe { cuDriverGetVersion(&mut value) }, value), (OK, 12000));
    configure("reset devices=0");
    assert_eq!(unsafe { cuInit(0) }, CUresult::CUDA_ERROR_NO_DEVICE);
    assert_eq!(unsafe { cuDeviceGetCount(&mut value) }, CUresult::CUDA_ERROR_NOT_INITIALIZED);
}
