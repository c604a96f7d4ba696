//! libcublasLt: matrix products with a bias and a ReLU.

pub mod descriptors;
pub mod heuristic;
pub mod matmul;
mod problem;

use std::sync::{Mutex, MutexGuard};

use cudarc::cublaslt::sys::{cublasLtHandle_t, cublasStatus_t};

use crate::calls::Status;
use crate::driver::context::not_capturing;
use crate::table::Table;
use descriptors::{Description, Layout, Preference};

impl Status for cublasStatus_t {
    const SUCCESS: Self = Self::CUBLAS_STATUS_SUCCESS;
    const INTERNAL: Self = Self::CUBLAS_STATUS_INTERNAL_ERROR;
    const NAMED: &'static [Self] = &[
        Self::CUBLAS_STATUS_NOT_INITIALIZED,
        Self::CUBLAS_STATUS_ALLOC_FAILED,
        Self::CUBLAS_STATUS_INVALID_VALUE,
        Self::CUBLAS_STATUS_ARCH_MISMATCH,
        Self::CUBLAS_STATUS_EXECUTION_FAILED,
        Self::CUBLAS_STATUS_INTERNAL_ERROR,
        Self::CUBLAS_STATUS_NOT_SUPPORTED,
    ];

    fn usual_fault(function: &str) -> Self {
        match function {
            "cublasLtMatmul" => Self::CUBLAS_STATUS_EXECUTION_FAILED,
            "cublasLtMatmulAlgoGetHeuristic" => Self::CUBLAS_STATUS_NOT_SUPPORTED,
            "cublasLtCreate" => Self::CUBLAS_STATUS_NOT_INITIALIZED,
            name if name.ends_with("Create") => Self::CUBLAS_STATUS_ALLOC_FAILED,
            _ => Self::CUBLAS_STATUS_INTERNAL_ERROR,
        }
    }
}

/// All that handles and descriptors stand for.
struct Objects {
    handles: Table<()>,
    descriptions: Table<Description>,
    layouts: Table<Layout>,
    preferences: Table<Preference>,
}

impl Objects {
    const fn new() -> Self {
        Self {
            handles: Table::new(0x531),
            descriptions: Table::new(0x532),
            layouts: Table::new(0x533),
            preferences: Table::new(0x534),
        }
    }
}

static OBJECTS: Mutex<Objects> = Mutex::new(Objects::new());

fn objects() -> MutexGuard<'static, Objects> {
    OBJECTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Forgets all objects.
pub fn forget() {
    *objects() = Objects::new();
}

/// Numbers of live objects by kind.
pub fn alive() -> [(&'static str, usize); 4] {
    let objects = objects();
    [
        ("cublaslt_handles", objects.handles.len()),
        ("matmul_descriptors", objects.descriptions.len()),
        ("matrix_layouts", objects.layouts.len()),
        ("matmul_preferences", objects.preferences.len()),
    ]
}

/// An error; what is not merely unsupported is a violation.
fn refuse<T>(status: cublasStatus_t, reason: impl Into<String>) -> Result<T, cublasStatus_t> {
    let reason = reason.into();
    match status {
        cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED | cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH => {
            eprintln!("simulated cuBLASLt: {reason}")
        }
        _ => crate::device::lock().violation(format!("cuBLASLt: {reason}")),
    }
    Err(status)
}

fn answer<T>(place: *mut T, value: T) -> Result<(), cublasStatus_t> {
    crate::driver::result::answer(place, value).map_err(|_| cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE)
}

fn check_handle(handle: cublasLtHandle_t) -> Result<(), cublasStatus_t> {
    let known = objects().handles.get(handle as u64).is_some();
    if known { Ok(()) } else { refuse(cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED, "a handle that does not exist") }
}

exported! {
    fn cublasLtCreate(handle: *mut cublasLtHandle_t) -> cublasStatus_t {
        drop(not_capturing("cublasLtCreate").map_err(|_| cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED)?);
        let created = objects().handles.insert(());
        answer(handle, created as cublasLtHandle_t)
    }

    fn cublasLtDestroy(handle: cublasLtHandle_t) -> cublasStatus_t {
        let removed = objects().handles.remove(handle as u64);
        removed.map_or_else(|| refuse(cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED, "cublasLtDestroy of a handle that does not exist"), Ok)
    }
}

/// The version: 13.0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtGetVersion() -> usize {
    crate::calls::enter_infallible("cublasLtGetVersion");
    130002
}
