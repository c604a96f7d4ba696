//! libcudnn: convolutions of NHWC tensors.

pub mod algorithms;
mod compute;
pub mod convolution;
pub mod descriptors;
mod geometry;

use std::cell::RefCell;
use std::ffi::{c_char, c_int};
use std::sync::{Mutex, MutexGuard};

use cudarc::cudnn::sys::{cudaStream_t, cudnnHandle_t, cudnnStatus_t};
use cudarc::driver::sys::CUresult;

use crate::calls::Status;
use crate::driver::context::{current, not_capturing};
use crate::driver::result::forever;
use crate::table::Table;
use descriptors::{Convolution, Filter, Tensor};

impl Status for cudnnStatus_t {
    const SUCCESS: Self = Self::CUDNN_STATUS_SUCCESS;
    const INTERNAL: Self = Self::CUDNN_STATUS_INTERNAL_ERROR;
    const NAMED: &'static [Self] = &[
        Self::CUDNN_STATUS_NOT_INITIALIZED,
        Self::CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH,
        Self::CUDNN_STATUS_BAD_PARAM,
        Self::CUDNN_STATUS_NOT_SUPPORTED,
        Self::CUDNN_STATUS_INTERNAL_ERROR,
        Self::CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED,
        Self::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,
        Self::CUDNN_STATUS_EXECUTION_FAILED,
    ];

    fn usual_fault(function: &str) -> Self {
        match function {
            "cudnnCreate" => Self::CUDNN_STATUS_NOT_INITIALIZED,
            name if name.starts_with("cudnnCreate") => Self::CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED,
            name if name.starts_with("cudnnConvolution") || name.starts_with("cudnnFind") => {
                Self::CUDNN_STATUS_EXECUTION_FAILED
            }
            name if name.starts_with("cudnnGetConvolution") => Self::CUDNN_STATUS_NOT_SUPPORTED,
            _ => Self::CUDNN_STATUS_INTERNAL_ERROR,
        }
    }
}

/// All that handles and descriptors stand for; a descriptor that was not set holds nothing.
struct Objects {
    /// Each handle's stream.
    handles: Table<u64>,
    tensors: Table<Option<Tensor>>,
    filters: Table<Option<Filter>>,
    convolutions: Table<Option<Convolution>>,
    /// Whether each was set: there is ReLU alone.
    activations: Table<bool>,
}

impl Objects {
    const fn new() -> Self {
        Self {
            handles: Table::new(0x521),
            tensors: Table::new(0x522),
            filters: Table::new(0x523),
            convolutions: Table::new(0x524),
            activations: Table::new(0x525),
        }
    }
}

static OBJECTS: Mutex<Objects> = Mutex::new(Objects::new());

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

fn objects() -> MutexGuard<'static, Objects> {
    OBJECTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Forgets all objects.
pub fn forget() {
    *objects() = Objects::new();
}

/// Numbers of live objects by kind.
pub fn alive() -> [(&'static str, usize); 5] {
    let objects = objects();
    [
        ("cudnn_handles", objects.handles.len()),
        ("tensor_descriptors", objects.tensors.len()),
        ("filter_descriptors", objects.filters.len()),
        ("convolution_descriptors", objects.convolutions.len()),
        ("activation_descriptors", objects.activations.len()),
    ]
}

/// An error with its reason for `cudnnGetLastErrorString`. What is not merely unsupported is a violation.
fn refuse<T>(status: cudnnStatus_t, reason: impl Into<String>) -> Result<T, cudnnStatus_t> {
    let reason = reason.into();
    if (2000..3000).contains(&(status as u32)) {
        crate::device::lock().violation(format!("cuDNN: {reason}"));
    }
    LAST_ERROR.with_borrow_mut(|last| *last = reason);
    Err(status)
}

fn answer<T>(place: *mut T, value: T) -> Result<(), cudnnStatus_t> {
    crate::driver::result::answer(place, value).map_err(|_| cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_NULL_POINTER)
}

/// What an error of the driver becomes.
fn of_driver(status: CUresult) -> cudnnStatus_t {
    LAST_ERROR.with_borrow_mut(|last| *last = format!("the driver said {status:?}"));
    cudnnStatus_t::CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER
}

/// The stream of a handle.
fn stream_of(handle: cudnnHandle_t) -> Result<u64, cudnnStatus_t> {
    let stream = objects().handles.get(handle as u64).copied();
    match stream {
        None => refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "a handle that does not exist"),
        Some(0) => refuse(
            cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH,
            "a handle without a stream (default streams are refused)",
        ),
        Some(stream) => Ok(stream),
    }
}

exported! {
    fn cudnnCreate(handle: *mut cudnnHandle_t) -> cudnnStatus_t {
        drop(not_capturing("cudnnCreate").map_err(|_| cudnnStatus_t::CUDNN_STATUS_NOT_INITIALIZED)?);
        let created = objects().handles.insert(0);
        answer(handle, created as cudnnHandle_t)
    }

    fn cudnnDestroy(handle: cudnnHandle_t) -> cudnnStatus_t {
        let removed = objects().handles.remove(handle as u64);
        match removed {
            None => refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "cudnnDestroy of a handle that does not exist"),
            Some(_) => Ok(()),
        }
    }

    fn cudnnSetStream(handle: cudnnHandle_t, stream: cudaStream_t) -> cudnnStatus_t {
        current().map_err(of_driver)?.checked_stream(stream as u64, "cudnnSetStream").map_err(of_driver)?;
        let mut objects = objects();
        match objects.handles.get_mut(handle as u64) {
            Some(place) => *place = stream as u64,
            None => {
                drop(objects);
                return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "cudnnSetStream of a handle that does not exist");
            }
        }
        Ok(())
    }
}

/// The version: 9.21.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetVersion() -> usize {
    crate::calls::enter_infallible("cudnnGetVersion");
    92100
}

/// The name of a status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetErrorString(status: cudnnStatus_t) -> *const c_char {
    crate::calls::enter_infallible("cudnnGetErrorString");
    forever(&format!("{status:?}"))
}

/// The reason of this thread's last error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetLastErrorString(message: *mut c_char, capacity: usize) {
    crate::calls::enter_infallible("cudnnGetLastErrorString");
    if message.is_null() || capacity == 0 {
        return;
    }
    let text = LAST_ERROR.with_borrow(|last| last.clone());
    let bytes = text.len().min(capacity - 1);
    std::ptr::copy_nonoverlapping(text.as_ptr().cast(), message, bytes);
    message.add(bytes).write(0);
}

/// A positive count or size of a descriptor.
fn positive(name: &str, value: c_int) -> Result<usize, cudnnStatus_t> {
    if value > 0 {
        Ok(value as usize)
    } else {
        refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, format!("{name} is {value}"))
    }
}
