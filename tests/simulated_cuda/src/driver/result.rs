//! CUresult, its names, and the faults that calls are told to have.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::Mutex;

use cudarc::driver::sys::CUresult;

use crate::calls::Status;
use crate::device;

impl Status for CUresult {
    const SUCCESS: Self = Self::CUDA_SUCCESS;
    const INTERNAL: Self = Self::CUDA_ERROR_UNKNOWN;
    const NAMED: &'static [Self] = &[
        Self::CUDA_ERROR_INVALID_VALUE,
        Self::CUDA_ERROR_OUT_OF_MEMORY,
        Self::CUDA_ERROR_NOT_INITIALIZED,
        Self::CUDA_ERROR_NO_DEVICE,
        Self::CUDA_ERROR_INVALID_CONTEXT,
        Self::CUDA_ERROR_INVALID_HANDLE,
        Self::CUDA_ERROR_INVALID_IMAGE,
        Self::CUDA_ERROR_NO_BINARY_FOR_GPU,
        Self::CUDA_ERROR_NOT_FOUND,
        Self::CUDA_ERROR_NOT_READY,
        Self::CUDA_ERROR_NOT_SUPPORTED,
        Self::CUDA_ERROR_ILLEGAL_ADDRESS,
        Self::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
        Self::CUDA_ERROR_LAUNCH_FAILED,
        Self::CUDA_ERROR_ECC_UNCORRECTABLE,
        Self::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
        Self::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        Self::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
        Self::CUDA_ERROR_UNKNOWN,
    ];

    fn usual_fault(function: &str) -> Self {
        match function {
            "cuMemAlloc_v2"
            | "cuMemHostAlloc"
            | "cuDevicePrimaryCtxRetain"
            | "cuEventCreate"
            | "cuStreamCreateWithPriority"
            | "cuModuleLoadData"
            | "cuGraphInstantiateWithFlags" => Self::CUDA_ERROR_OUT_OF_MEMORY,
            "cuLaunchKernel"
            | "cuGraphLaunch"
            | "cuStreamSynchronize"
            | "cuEventSynchronize"
            | "cuEventQuery"
            | "cuCtxSynchronize" => Self::CUDA_ERROR_LAUNCH_FAILED,
            "cuModuleGetFunction" => Self::CUDA_ERROR_NOT_FOUND,
            "cuInit" | "cuDeviceGetCount" => Self::CUDA_ERROR_NO_DEVICE,
            _ => Self::CUDA_ERROR_UNKNOWN,
        }
    }

    fn injected(self, _function: &str) {
        if matches!(
            self,
            Self::CUDA_ERROR_LAUNCH_FAILED | Self::CUDA_ERROR_ILLEGAL_ADDRESS | Self::CUDA_ERROR_ECC_UNCORRECTABLE
        ) {
            device::lock().break_down(self);
            // What runs reads memory that its owner will now free: a broken context has come to rest.
            drop(device::quiet());
        }
    }
}

/// A C string that lives for ever, one for each text.
pub fn forever(text: &str) -> *const c_char {
    static TEXTS: Mutex<BTreeMap<String, &'static std::ffi::CStr>> = Mutex::new(BTreeMap::new());
    let mut texts = TEXTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let made = || &*Box::leak(CString::new(text.replace('\0', " ")).unwrap_or_default().into_boxed_c_str());
    texts.entry(text.to_owned()).or_insert_with(made).as_ptr()
}

/// Writes an answer through the caller's pointer.
pub fn answer<T>(place: *mut T, value: T) -> Result<(), CUresult> {
    if place.is_null() {
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller owes a place for a T.
    unsafe { place.write(value) };
    Ok(())
}

exported! {
    /// The name of an error.
    fn cuGetErrorName(error: CUresult, text: *mut *const c_char) -> CUresult {
        answer(text, forever(&format!("{error:?}")))
    }

    /// The meaning of an error.
    fn cuGetErrorString(error: CUresult, text: *mut *const c_char) -> CUresult {
        let words = format!("{error:?}").trim_start_matches("CUDA_ERROR_").to_lowercase().replace('_', " ");
        answer(text, forever(&format!("{words} (simulated)")))
    }
}
