//! cuDNN's handle, and its errors.

use std::ffi::CStr;
use std::ptr;
use std::rc::Rc;

use cudarc::cudnn::sys::{self, cudnnStatus_t};

use crate::backend::cuda::driver::{Stream, warned};
use crate::error::{Error, Result};

/// The library's handle, bound to one stream.
#[derive(Debug)]
pub struct Cudnn {
    pub(super) raw: sys::cudnnHandle_t,
}

impl Cudnn {
    /// A handle on the current context's GPU, whose work goes to `stream`.
    pub fn new(stream: &Stream) -> Result<Rc<Self>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer outlives the call; `Drop` destroys what it makes.
        check("cudnnCreate", unsafe { sys::cudnnCreate(&raw mut raw) })?;
        let library = Self { raw };
        // SAFETY: both live; the backend keeps the stream longer than the handle.
        check("cudnnSetStream", unsafe { sys::cudnnSetStream(library.raw, stream.raw().cast()) })?;
        Ok(Rc::new(library))
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and no convolution is left.
        warned(check("cudnnDestroy", unsafe { sys::cudnnDestroy(self.raw) }));
    }
}

/// Statuses are numbered by category; the third says that something is not supported, with the reason in the lower
/// digits.
const STATUS_CATEGORY: u32 = 1000;
const NOT_SUPPORTED: u32 = 3;

/// Whether cuDNN cannot do what it was asked for, and has done nothing.
pub(super) fn is_refusal(status: cudnnStatus_t) -> bool {
    status as u32 / STATUS_CATEGORY == NOT_SUPPORTED
}

pub(super) fn check(call: &'static str, status: cudnnStatus_t) -> Result<()> {
    if status == cudnnStatus_t::CUDNN_STATUS_SUCCESS {
        return Ok(());
    }
    let mut details = [0; 256];
    // SAFETY: the status has a text that lives as long as the library; there is room for as many bytes as are said.
    let (status, details) = unsafe {
        sys::cudnnGetLastErrorString(details.as_mut_ptr(), details.len());
        (CStr::from_ptr(sys::cudnnGetErrorString(status)), CStr::from_ptr(details.as_ptr()))
    };
    let (status, details) = (status.to_string_lossy(), details.to_string_lossy());
    let details = if details.is_empty() { String::new() } else { format!(" ({details})") };
    Err(Error::Device(format!("{call} failed: {status}{details}")))
}
