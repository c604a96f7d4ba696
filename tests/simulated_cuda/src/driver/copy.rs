//! Copies and fills. A copy reads its source when it runs; only pageable sources are staged when it is enqueued, as
//! CUDA may. Synchronous ones from pageable memory and fills may return before they arrive.

use std::ffi::{c_uchar, c_void};

use cudarc::driver::sys::{CUdeviceptr, CUresult, CUstream};

use super::context::{current, not_capturing};
use super::memory::Side;
use crate::device::{self, Demand, Job, State, Work};
use crate::schedule::Class;

/// The block that holds a range of device memory.
fn on_device(state: &mut State, call: &str, address: u64, bytes: usize) -> Result<u64, CUresult> {
    match state.memory.holding(Side::Device, address, bytes) {
        Some(block) => Ok(block),
        None => state.refuse(
            CUresult::CUDA_ERROR_INVALID_VALUE,
            format!("{call}: {address:#x} + {bytes} bytes do not lie in one device allocation"),
        ),
    }
}

/// A copy between addresses that are valid when it runs: their blocks cannot be freed while it is pending.
fn copying(destination: u64, source: u64, bytes: usize) -> Job {
    Box::new(move |_| {
        // SAFETY: both ranges were checked to lie in live allocations, which `pending_use` keeps alive.
        unsafe { std::ptr::copy(source as *const u8, destination as *mut u8, bytes) };
        Ok(())
    })
}

fn submit(state: &mut State, stream: CUstream, name: &'static str, blocks: Vec<u64>, job: Job) -> Result<(), CUresult> {
    state.submit(stream as u64, Work { name, class: Class::Copy, blocks, launched: None, job })
}

exported! {
    fn cuMemcpyHtoDAsync_v2(destination: CUdeviceptr, source: *const c_void, bytes: usize, stream: CUstream) -> CUresult {
        let name = "cuMemcpyHtoDAsync_v2";
        let mut state = current()?;
        let block = on_device(&mut state, name, destination, bytes)?;
        let source = source as u64;
        if let Some(pinned) = state.memory.holding(Side::Pinned, source, bytes) {
            return submit(&mut state, stream, name, vec![block, pinned], copying(destination, source, bytes));
        }
        if source == 0 || state.memory.containing(source).is_some() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("{name}: the source {source:#x} + {bytes} bytes is no host memory"));
        }
        if state.settings.strict {
            state.violation(format!("{name} of {bytes} bytes of pageable memory"));
        }
        let staged = std::slice::from_raw_parts(source as *const u8, bytes).to_vec();
        let job: Job = Box::new(move |_| {
            std::ptr::copy(staged.as_ptr(), destination as *mut u8, bytes);
            Ok(())
        });
        submit(&mut state, stream, name, vec![block], job)
    }

    fn cuMemcpyDtoHAsync_v2(destination: *mut c_void, source: CUdeviceptr, bytes: usize, stream: CUstream) -> CUresult {
        let name = "cuMemcpyDtoHAsync_v2";
        let mut state = current()?;
        let block = on_device(&mut state, name, source, bytes)?;
        let destination = destination as u64;
        if let Some(pinned) = state.memory.holding(Side::Pinned, destination, bytes) {
            return submit(&mut state, stream, name, vec![block, pinned], copying(destination, source, bytes));
        }
        if destination == 0 || state.memory.containing(destination).is_some() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("{name}: the destination {destination:#x} is no host memory"));
        }
        if state.settings.strict {
            state.violation(format!("{name} of {bytes} bytes to pageable memory"));
        }
        if state.is_capturing(stream as u64) {
            return state.refuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, format!("{name} to pageable memory in a capture"));
        }
        submit(&mut state, stream, name, vec![block], copying(destination, source, bytes))?;
        let last = state.last_number();
        device::wait(state, Demand::Streams(vec![stream as u64], last)).map(drop)
    }

    fn cuMemcpyDtoDAsync_v2(destination: CUdeviceptr, source: CUdeviceptr, bytes: usize, stream: CUstream) -> CUresult {
        let name = "cuMemcpyDtoDAsync_v2";
        let mut state = current()?;
        let blocks = vec![on_device(&mut state, name, destination, bytes)?, on_device(&mut state, name, source, bytes)?];
        submit(&mut state, stream, name, blocks, copying(destination, source, bytes))
    }

    fn cuMemcpyHtoD_v2(destination: CUdeviceptr, source: *const c_void, bytes: usize) -> CUresult {
        let mut state = not_capturing("cuMemcpyHtoD_v2")?;
        on_device(&mut state, "cuMemcpyHtoD_v2", destination, bytes)?;
        if source.is_null() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuMemcpyHtoD_v2 from null");
        }
        let staged = std::slice::from_raw_parts(source.cast::<u8>(), bytes).to_vec();
        state.arrive(Box::new(move |_| {
            std::ptr::copy(staged.as_ptr(), destination as *mut u8, bytes);
            Ok(())
        }))
    }

    fn cuMemcpyDtoH_v2(destination: *mut c_void, source: CUdeviceptr, bytes: usize) -> CUresult {
        let mut state = not_capturing("cuMemcpyDtoH_v2")?;
        on_device(&mut state, "cuMemcpyDtoH_v2", source, bytes)?;
        if destination.is_null() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuMemcpyDtoH_v2 to null");
        }
        state.all_arrive()?;
        std::ptr::copy(source as *const u8, destination.cast::<u8>(), bytes);
        Ok(())
    }

    fn cuMemsetD8_v2(destination: CUdeviceptr, value: c_uchar, bytes: usize) -> CUresult {
        let mut state = not_capturing("cuMemsetD8_v2")?;
        on_device(&mut state, "cuMemsetD8_v2", destination, bytes)?;
        state.arrive(Box::new(move |_| {
            std::ptr::write_bytes(destination as *mut u8, value, bytes);
            Ok(())
        }))
    }
}
