//! One test at a time on a fresh simulation, and short names for what tests do.

use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard};

use cudarc::driver::sys::{CUcontext, CUevent, CUresult, CUstream};
use serde_json::Value;

use crate::driver::context::{cuCtxSetCurrent, cuCtxSynchronize, cuDevicePrimaryCtxRetain, cuInit};
use crate::driver::copy::{cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2};
use crate::driver::event::{cuEventCreate, cuEventRecord};
use crate::driver::memory::{cuMemAlloc_v2, cuMemHostAlloc};
use crate::driver::stream::{cuStreamCreate, cuStreamSynchronize, cuStreamWaitEvent};
use crate::numbers::{from_bf16, to_bf16};
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

/// Numbers from -1 to 1.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
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
        assert_eq!(unsafe { cuStreamCreate(&mut stream, 1) }, OK);
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

    /// Device memory with these values, in bf16 or in f32.
    pub fn uploaded_floats(&self, values: &[f32], is_bf16: bool) -> u64 {
        match is_bf16 {
            true => self.uploaded(&values.iter().map(|value| to_bf16(*value)).collect::<Vec<_>>()),
            false => self.uploaded(values),
        }
    }

    pub fn peek_floats(&self, address: u64, count: usize, is_bf16: bool) -> Vec<f32> {
        match is_bf16 {
            true => self.peek::<u16>(address, count).into_iter().map(from_bf16).collect(),
            false => self.peek(address, count),
        }
    }

    pub fn upload<T: Copy>(&self, to: u64, from: &[T], stream: CUstream) {
        assert_eq!(unsafe { cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), size_of_val(from), stream) }, OK);
    }

    pub fn download<T: Copy>(&self, to: &mut [T], from: u64, stream: CUstream) {
        assert_eq!(unsafe { cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, size_of_val(to), stream) }, OK);
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

    pub fn report(&self) -> Value {
        report()
    }

    /// What was done wrong so far.
    pub fn violations(&self) -> Vec<String> {
        let report = report();
        report["violations"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    }
}
