//! NVRTC, modules and launches, with the real shim. `shim.rs` shows how it runs threads.

use std::ffi::{CString, c_char, c_void};

use cudarc::driver::sys::{CUfunction, CUmodule, CUresult, CUstream};
use cudarc::nvrtc::sys::nvrtcResult;

use super::session::{OK, Session, configure};
use crate::driver::launch::cuLaunchKernel;
use crate::driver::memory::{cuMemAlloc_v2, cuMemFree_v2};
use crate::driver::module::{cuModuleGetFunction, cuModuleLoadData};
use crate::driver::stream::cuStreamSynchronize;
use crate::nvrtc::{
    nvrtcCompileProgram, nvrtcCreateProgram, nvrtcDestroyProgram, nvrtcGetCUBIN, nvrtcGetCUBINSize, nvrtcGetProgramLog,
    nvrtcGetProgramLogSize,
};

const DIVERGENT: &str = r#"
extern "C" __global__ void __launch_bounds__(64) divergent(float* values) {
    if (threadIdx.x < 3) {
        __syncthreads();
        values[threadIdx.x] = 0;
        __syncthreads();
    } else {
        __syncthreads();
    }
}
"#;

/// Compiles to a CUBIN, or returns the error and the log.
pub fn compile(source: &str, options: &[&str]) -> Result<Vec<u8>, (nvrtcResult, String)> {
    let text = |text: &str| CString::new(text).expect("no zeros");
    let (source, options) = (text(source), options.iter().copied().map(text).collect::<Vec<_>>());
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let (mut program, mut bytes, null) = (std::ptr::null_mut(), 0, std::ptr::null());
    unsafe {
        let created = nvrtcCreateProgram(&mut program, source.as_ptr(), std::ptr::null(), 0, null, null);
        assert_eq!(created, nvrtcResult::NVRTC_SUCCESS);
        let result = nvrtcCompileProgram(program, pointers.len() as i32, pointers.as_ptr());
        let done = result == nvrtcResult::NVRTC_SUCCESS;
        let size = if done { nvrtcGetCUBINSize } else { nvrtcGetProgramLogSize };
        assert_eq!(size(program, &mut bytes), nvrtcResult::NVRTC_SUCCESS);
        let mut answer = vec![0u8; bytes];
        let get = if done { nvrtcGetCUBIN } else { nvrtcGetProgramLog };
        assert_eq!(get(program, answer.as_mut_ptr().cast()), nvrtcResult::NVRTC_SUCCESS);
        assert_eq!(nvrtcDestroyProgram(&mut program), nvrtcResult::NVRTC_SUCCESS);
        if done { Ok(answer) } else { Err((result, String::from_utf8_lossy(&answer).into_owned())) }
    }
}

fn cubin(sm: &str) -> Vec<u8> {
    compile(DIVERGENT, &[&format!("--gpu-architecture={sm}")]).expect("the source is right")
}

pub fn load(cubin: &[u8]) -> Result<CUmodule, CUresult> {
    let mut module = std::ptr::null_mut();
    match unsafe { cuModuleLoadData(&mut module, cubin.as_ptr().cast()) } {
        OK => Ok(module),
        error => Err(error),
    }
}

/// The module's kernel of that name.
pub fn function(module: CUmodule, name: &str) -> CUfunction {
    let (mut function, name) = (std::ptr::null_mut(), CString::new(name).expect("no zeros"));
    assert_eq!(unsafe { cuModuleGetFunction(&mut function, module, name.as_ptr()) }, OK);
    function
}

/// Launches eight threads of the kernel.
fn launch(mut values: u64, stream: CUstream) -> CUresult {
    let function = function(load(&cubin("sm_90")).expect("a whole CUBIN"), "divergent");
    let mut parameters = [(&raw mut values).cast::<c_void>()];
    let (parameters, extra) = (parameters.as_mut_ptr(), std::ptr::null_mut());
    unsafe { cuLaunchKernel(function, 1, 1, 1, 8, 1, 1, 0, stream, parameters, extra) }
}

#[test]
fn a_divergent_barrier_ends_the_context() {
    let session = Session::new("");
    let stream = session.stream();
    assert_eq!(launch(session.device(400), stream), OK);
    assert_eq!(unsafe { cuStreamSynchronize(stream) }, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert_eq!(unsafe { cuMemAlloc_v2(&mut 0, 1) }, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert!(session.violations()[0].contains("divergent"), "{:?}", session.violations());
}

#[test]
fn a_pointer_into_freed_memory_ends_the_context() {
    let session = Session::new("");
    let stream = session.stream();
    let values = session.device(400);
    assert_eq!(unsafe { cuMemFree_v2(values) }, OK);
    assert_eq!(launch(values + 8, stream), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_eq!(unsafe { cuMemAlloc_v2(&mut 0, 1) }, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}

#[test]
fn wrong_sources_and_options_are_errors_with_a_log() {
    let _session = Session::new("");
    let sources = [
        ("extern \"C\" __global__ void broken(int* a) { a[0] = b; }", "'b' was not declared"),
        ("#include <cuda_bf16.h>\n", "cuda_bf16.h"),
    ];
    for (source, expected) in sources {
        let (result, log) = compile(source, &["--gpu-architecture=sm_90"]).expect_err("it is wrong");
        assert!(result == nvrtcResult::NVRTC_ERROR_COMPILATION && log.contains(expected), "{log}");
    }
    for options in [&["--gpu-architecture=sm_90", "--fast"][..], &["--gpu-architecture=compute_90"], &["-DFACTOR=1"]] {
        let (result, _) = compile(DIVERGENT, options).expect_err("an option is wrong");
        assert_eq!(result, nvrtcResult::NVRTC_ERROR_INVALID_OPTION, "{options:?}");
    }
}

#[test]
fn a_cubin_is_for_its_architecture_and_whole() {
    let _session = Session::new("sm=75");
    assert_eq!(load(&cubin("sm_90")), Err(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU));
    configure("sm=89");
    assert!(load(&cubin("sm_80")).is_ok());
    let mut damaged = cubin("sm_80");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert_eq!(load(&damaged), Err(CUresult::CUDA_ERROR_INVALID_IMAGE));
    assert_eq!(load(&[0u8; 64]), Err(CUresult::CUDA_ERROR_INVALID_IMAGE));
}
