//! One test at a time on a fresh simulation, and short names for what tests do.

use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard};

use cudarc::driver::sys::{CUcontext, CUevent, CUresult, CUstream};

use crate::driver::context::{cuCtxSetCurrent, cuCtxSynchronize, cuDevicePrimaryCtxRetain, cuInit};
use crate::driver::copy::cuMemcpyHtoDAsync_v2;
use crate::driver::event::{cuEventCreate, cuEventRecord};
use crate::driver::memory::{cuMemAlloc_v2, cuMemHostAlloc};
use crate::driver::stream::{cuStreamCreateWithPriority, cuStreamSynchronize, cuStreamWaitEvent};
use crate::report::report;
use crate::settings::simulated_configure;

pub const OK: CUresult = CUresult::CUDA_SUCCESS;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The simulation, to this test alone.
pub struct Session {
    _alone: MutexGuard<'static, ()>,
}

/// Sets `name=value ...`.
pub fn configure(settings: &str) {
    let text = CString::new(settings).expect("settings have no zeros");
    assert_eq!(unsafe { simulated_configure(text.as_ptr()) }, 0, "{settings}");
}

impl Session {
    /// A context with these settings.
    pub fn new(settings: &str) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        configure("reset");
        configure(settings);
        let mut context: CUcontext = std::ptr::null_mut();
        unsafe {
            assert_eq!(cuInit(0), OK);
            assert_eq!(cuDevicePrimaryCtxRetain(&mut context, 0), OK);
            assert_eq!(cuCtxSetCurrent(context), OK);
        }
        Self { _alone: alone }
    }

    pub fn stream(&self) -> CUstream {
        let mut stream = std::ptr::null_mut();
        assert_eq!(unsafe { cuStreamCreateWithPriority(&mut stream, 1, 0) }, OK);
        stream
    }

    pub fn event(&self) -> CUevent {
        let mut event = std::ptr::null_mut();
        assert_eq!(unsafe { cuEventCreate(&mut event, 2) }, OK);
        event
    }

    /// Device memory of so many bytes.
    pub fn device(&self, bytes: usize) -> u64 {
        let mut address = 0;
        assert_eq!(unsafe { cuMemAlloc_v2(&mut address, bytes) }, OK);
        address
    }

    /// Pinned memory with these values.
    pub fn pinned<T: Copy>(&self, values: &[T]) -> &'static mut [T] {
        let mut address: *mut c_void = std::ptr::null_mut();
        unsafe {
            assert_eq!(cuMemHostAlloc(&mut address, size_of_val(values), 0), OK);
            let pinned = std::slice::from_raw_parts_mut(address.cast::<T>(), values.len());
            pinned.copy_from_slice(values);
            pinned
        }
    }

    /// Device memory with these values, there now.
    pub fn uploaded<T: Copy>(&self, values: &[T]) -> u64 {
        let address = self.device(size_of_val(values));
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), address as *mut T, values.len()) };
        address
    }

    /// Values in device memory now, with nothing waited for.
    pub fn peek<T: Copy>(&self, address: u64, count: usize) -> Vec<T> {
        unsafe { std::slice::from_raw_parts(address as *const T, count) }.to_vec()
    }

    pub fn upload<T: Copy>(&self, to: u64, from: &[T], stream: CUstream) {
        assert_eq!(unsafe { cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), size_of_val(from), stream) }, OK);
    }

    pub fn record(&self, event: CUevent, stream: CUstream) {
        assert_eq!(unsafe { cuEventRecord(event, stream) }, OK);
    }

    pub fn wait(&self, stream: CUstream, event: CUevent) {
        assert_eq!(unsafe { cuStreamWaitEvent(stream, event, 0) }, OK);
    }

    pub fn finish(&self, stream: CUstream) {
        assert_eq!(unsafe { cuStreamSynchronize(stream) }, OK);
    }

    pub fn finish_all(&self) {
        assert_eq!(unsafe { cuCtxSynchronize() }, OK);
    }

    /// What was done wrong so far.
    pub fn violations(&self) -> Vec<String> {
        serde_json::from_value(report()["violations"].take()).expect("a list of texts")
    }
}
