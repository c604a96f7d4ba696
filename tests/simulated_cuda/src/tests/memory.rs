//! Allocations, guard zones, leaks.

use cudarc::driver::sys::CUresult;

use super::session::{OK, Session};
use crate::driver::context::{cuCtxSynchronize, cuDevicePrimaryCtxRelease_v2};
use crate::driver::copy::{cuMemcpyDtoH_v2, cuMemcpyHtoD_v2, cuMemcpyHtoDAsync_v2, cuMemsetD8_v2};
use crate::driver::memory::{
    cuMemAlloc_v2, cuMemFree_v2, cuMemFreeHost, cuMemGetInfo_v2, cuMemHostRegister_v2, cuMemHostUnregister,
};
use crate::report::report;

const INVALID: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

#[test]
fn memory_is_poisoned_bounded_and_given_back() {
    let session = Session::new("memory=1000");
    let block = session.device(600);
    assert!(session.peek::<f32>(block, 150).iter().all(|value| value.is_nan()));
    let mut other = 0;
    assert_eq!(unsafe { cuMemAlloc_v2(&mut other, 401) }, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let (mut free, mut total) = (0, 0);
    assert_eq!(unsafe { cuMemGetInfo_v2(&mut free, &mut total) }, OK);
    assert_eq!((free, total), (400, 1000));
    assert_eq!(unsafe { cuMemFree_v2(block) }, OK);
    assert_eq!(unsafe { cuMemAlloc_v2(&mut other, 1000) }, OK);
}

#[test]
fn writes_beside_a_block_are_found_at_the_next_sync_with_its_name() {
    let session = Session::new("");
    let _first = session.device(8);
    let block = session.device(100);
    unsafe { *((block + 103) as *mut u8) = 0 };
    assert_eq!(unsafe { cuCtxSynchronize() }, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_eq!(session.violations(), ["device allocation 1 (100 bytes) was written 3 bytes after its end"]);
    assert_eq!(unsafe { cuCtxSynchronize() }, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, "it stays broken");
}

#[test]
fn freeing_twice_what_is_foreign_or_what_is_in_use_is_refused() {
    let session = Session::new("schedule=lazy");
    let stream = session.stream();
    let (block, pinned) = (session.device(8), session.pinned(&[0u64]));
    assert_eq!(unsafe { cuMemFree_v2(block + 1) }, INVALID);
    assert_eq!(unsafe { cuMemFreeHost(block as *mut _) }, INVALID);
    session.upload(block, pinned, stream);
    assert_eq!(unsafe { cuMemFree_v2(block) }, INVALID);
    assert_eq!(unsafe { cuMemFreeHost(pinned.as_mut_ptr().cast()) }, INVALID);
    assert!(session.violations()[2].contains("cuMemcpyHtoDAsync_v2 still pending"), "{:?}", session.violations());
    session.finish(stream);
    assert_eq!(unsafe { cuMemFree_v2(block) }, OK);
    assert_eq!(unsafe { cuMemFree_v2(block) }, INVALID);
}

#[test]
fn copies_and_fills_stay_in_one_allocation() {
    let session = Session::new("");
    let stream = session.stream();
    let (block, pinned) = (session.device(8), session.pinned(&[0u8; 16]));
    unsafe {
        assert_eq!(cuMemcpyHtoDAsync_v2(block, pinned.as_ptr().cast(), 9, stream), INVALID);
        assert_eq!(cuMemcpyHtoDAsync_v2(block, pinned.as_ptr().add(9).cast(), 8, stream), INVALID);
        assert_eq!(cuMemsetD8_v2(block + 4, 0, 5), INVALID);
        assert_eq!(cuMemcpyHtoD_v2(block - 1, pinned.as_ptr().cast(), 2), INVALID);
        assert_eq!(cuMemcpyDtoH_v2(pinned.as_mut_ptr().cast(), block, 8), OK);
        assert_eq!(cuMemsetD8_v2(block + 4, 3, 4), OK);
    }
    assert_eq!(session.peek::<u8>(block, 8), [255, 255, 255, 255, 3, 3, 3, 3]);
}

#[test]
fn registered_memory_is_read_when_the_copy_runs() {
    let session = Session::new("schedule=late-copies strict=1");
    let stream = session.stream();
    let block = session.device(8);
    let mut values = vec![1u64];
    let address = values.as_mut_ptr().cast();
    assert_eq!(unsafe { cuMemHostRegister_v2(address, 8, 0) }, OK);
    assert_eq!(unsafe { cuMemHostRegister_v2(address, 8, 0) }, CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    session.upload(block, &values, stream);
    values[0] = 2;
    assert_eq!(unsafe { cuMemHostUnregister(address) }, INVALID, "a copy is pending");
    session.finish(stream);
    assert_eq!(session.peek::<u64>(block, 1), [2]);
    assert_eq!(unsafe { cuMemHostUnregister(address) }, OK);
}

#[test]
fn what_is_left_when_the_context_goes_is_a_leak() {
    let session = Session::new("");
    let _stream = session.stream();
    let _event = session.event();
    let _kept = session.device(12);
    let freed = session.device(13);
    let _pinned = session.pinned(&[1u8]);
    assert_eq!(unsafe { cuMemFree_v2(freed) }, OK);
    assert_eq!(unsafe { cuDevicePrimaryCtxRelease_v2(0) }, OK);
    let blocks = report()["leaks"][0]["blocks"].take();
    let expected = serde_json::json!([{
        "alive": {"allocations": 1, "pinned": 1, "streams": 1, "events": 1},
        "blocks": blocks,
    }]);
    assert_eq!(report()["leaks"], expected);
    let blocks = blocks.to_string();
    assert!(blocks.contains("device allocation 0 (12 bytes)") && blocks.contains("pinned allocation 0 (1 bytes)"));
}
