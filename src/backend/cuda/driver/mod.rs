//! The driver: one GPU's context and what lives in it, each thing freed by whoever owns it.
//!
//! Thin ownership over cudarc's results. Nothing here orders work between streams by itself: every hand-over is an
//! explicit [`Event`], and so is each wait of the host.

mod context;
mod event;
mod graph;
mod memory;
mod module;
mod stream;
mod watch;

pub use self::context::{Capability, Context};
pub use self::event::{Event, Timing};
pub use self::graph::{Capture, Graph, GraphKernel};
pub use self::memory::{Buffer, PageLock, Pinned, Slice, SliceMut};
pub use self::module::{Function, Module};
pub use self::stream::{LaunchShape, Priority, Stream};
pub use self::watch::Watch;

use std::ffi::CStr;

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use crate::error::{Error, Result};

/// Gives a driver's error the call that it came from.
pub(super) fn check<T>(call: &'static str, result: Result<T, DriverError>) -> Result<T> {
    result.map_err(|error| Error::Device(format!("{call} failed: {}", describe(error))))
}

/// Reports what freeing something found. An error that poisoned the whole context has been reported by the call that
/// met it first.
fn released(call: &'static str, result: Result<(), DriverError>) {
    if let Err(error) = result
        && !ends_the_context(error.0)
    {
        crate::tell!("warning: {call} failed: {}", describe(error));
    }
}

/// Reports what freeing something of a library found: nothing is to be done about it.
pub(in crate::backend::cuda) fn warned(result: Result<()>) {
    if let Err(error) = result {
        crate::tell!("warning: {error}");
    }
}

/// The error's name and the driver's words for it.
pub(super) fn describe(error: DriverError) -> String {
    let text = |words: Result<&CStr, DriverError>| words.map(|words| words.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Ok(name), Ok(words)) => format!("{name} ({words})"),
        _ => format!("error {}", error.0 as u32),
    }
}

/// Whether every later call of this process will fail with it too.
fn ends_the_context(result: CUresult) -> bool {
    matches!(
        result,
        CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_DEINITIALIZED
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
    )
}
