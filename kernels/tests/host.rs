//! Kernels compiled for the host.

use std::env;
use std::ffi::{CStr, OsString, c_char, c_int, c_void};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

use super::super::source::SOURCE;
use crate::backend::cuda::driver::LaunchShape;
use crate::backend::cuda::real::Real;

const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulated_cuda/shim/cuda_shim.h");

type NumParameters = unsafe extern "C" fn(sizes: *mut u32, capacity: u32) -> u32;
type Launch = unsafe extern "C" fn(
    parameters: *mut *mut c_void,
    grid: *const u32,
    block: *const u32,
    shared_bytes: u32,
    order: u32,
    message: *mut c_char,
    message_bytes: usize,
) -> c_int;

/// A compiled translation unit.
pub struct Unit {
    library: Library,
}

impl Unit {
    /// All of `kernels/` for `R`, compiled once.
    pub fn of<R: Real>() -> &'static Self {
        static UNITS: [OnceLock<Unit>; 2] = [OnceLock::new(), OnceLock::new()];
        UNITS[usize::from(R::IS_MASTER)].get_or_init(|| Self::compile(SOURCE, R::DEFINITION))
    }

    pub fn compile(source: &str, definition: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (unit, library) = (folder.path().join("kernels.cu"), folder.path().join("kernels.so"));
        let definitions = source.split("extern \"C\" __global__ void ").skip(1);
        let names = definitions.map(|text| {
            let text = if text.starts_with("__launch_bounds__") { text.split_once(") ").unwrap().1 } else { text };
            text.split_once('(').unwrap().0
        });
        let exports: String = names.map(|name| format!("\nSIMULATED_KERNEL({name})")).collect();
        fs::write(&unit, format!("{source}{exports}\n")).unwrap();
        Self::run_compiler(&unit, &library, definition);
        // SAFETY: the library was made from this repository's sources; opening it runs the constructors of its few
        // statics.
        let library = unsafe { Library::new(&library) }.unwrap();
        Self { library }
    }

    fn run_compiler(unit: &Path, library: &Path, definition: &str) {
        let compiler = env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-w", "-include", SHIM]);
        command.arg(format!("-D{definition}")).args(["-x", "c++"]).arg(unit).arg("-o").arg(library);
        let output = command.output().unwrap_or_else(|error| {
            panic!(
                "{}: {error}; these tests need a C++17 compiler: install g++ or clang, or name it in CXX",
                compiler.display()
            )
        });
        assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a kernel; the error is its message.
    ///
    /// # Safety
    ///
    /// The parameters must point to values of the kernel's parameter types, and the memory they name be as long as it
    /// needs.
    pub unsafe fn launch(
        &self,
        name: &str,
        shape: LaunchShape,
        order: u32,
        parameters: &mut [*mut c_void],
    ) -> Result<(), String> {
        // SAFETY: the shim's header exports both functions with these signatures.
        let (launch, num_parameters): (Symbol<'_, Launch>, Symbol<'_, NumParameters>) = unsafe {
            let find = |prefix: &str| format!("{prefix}{name}\0");
            (
                self.library.get(find("simulated_launch_").as_bytes()).unwrap(),
                self.library.get(find("simulated_params_").as_bytes()).unwrap(),
            )
        };
        // SAFETY: no sizes are asked for.
        assert_eq!(
            parameters.len(),
            unsafe { num_parameters(std::ptr::null_mut(), 0) } as usize,
            "parameters of {name}"
        );
        let (grid, block) = ([shape.grid.0, shape.grid.1, shape.grid.2], [shape.block.0, shape.block.1, shape.block.2]);
        let mut message = [0; 512];
        // SAFETY: the parameters are this function's contract, the rest lives until the call returns.
        let failed = unsafe {
            launch(
                parameters.as_mut_ptr(),
                grid.as_ptr(),
                block.as_ptr(),
                shape.shared_bytes,
                order,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        // SAFETY: the shim ends its message with a zero byte.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
        if failed == 0 { Ok(()) } else { Err(message) }
    }
}

/// Runs a unit's kernel with parameters of its types, in its order; memory goes in as pointers. The error is its
/// message.
macro_rules! launch {
    ($unit:expr, $name:expr, $shape:expr, $order:expr, [$($parameter:expr),* $(,)?]) => {
        // SAFETY: the tests give each kernel as much memory as its shapes say.
        unsafe {
            $unit.launch(
                $name,
                $shape,
                $order,
                &mut [$(std::ptr::from_ref(&$parameter).cast_mut().cast::<std::ffi::c_void>()),*],
            )
        }
    };
}
pub(super) use launch;

/// Runs a kernel of `kernels/`, compiled for a type of activations.
macro_rules! run {
    ($real:ty, $name:expr, $shape:expr, $order:expr, $parameters:tt) => {
        super::host::launch!(super::Unit::of::<$real>(), $name, $shape, $order, $parameters).unwrap()
    };
}
pub(super) use run;
