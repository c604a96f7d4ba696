//! NVRTC, modules and launches, with the real shim.

use std::ffi::{CString, c_char, c_void};

use cudarc::driver::sys::{CUfunction, CUmodule, CUresult};
use cudarc::nvrtc::sys::nvrtcResult;

use super::session::{OK, Session, configure};
use crate::driver::launch::cuLaunchKernel;
use crate::driver::memory::{cuMemAlloc_v2, cuMemFree_v2};
use crate::driver::module::{cuModuleGetFunction, cuModuleLoadData, cuModuleUnload};
use crate::driver::stream::cuStreamSynchronize;
use crate::nvrtc::{
    nvrtcCompileProgram, nvrtcCreateProgram, nvrtcDestroyProgram, nvrtcGetCUBIN, nvrtcGetCUBINSize, nvrtcGetProgramLog,
    nvrtcGetProgramLogSize,
};

const SOURCE: &str = r#"
extern "C" __global__ void scale(float* values, float factor, int count) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) {
        values[index] *= FACTOR * factor;
    }
}
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
fn compile(source: &str, options: &[&str]) -> Result<Vec<u8>, (nvrtcResult, String)> {
    let source = CString::new(source).expect("no zeros");
    let options: Vec<CString> = options.iter().map(|option| CString::new(*option).expect("no zeros")).collect();
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = std::ptr::null_mut();
    unsafe {
        let created =
            nvrtcCreateProgram(&mut program, source.as_ptr(), std::ptr::null(), 0, std::ptr::null(), std::ptr::null());
        assert_eq!(created, nvrtcResult::NVRTC_SUCCESS);
        let result = nvrtcCompileProgram(program, pointers.len() as i32, pointers.as_ptr());
        let mut bytes = 0;
        assert_eq!(nvrtcGetProgramLogSize(program, &mut bytes), nvrtcResult::NVRTC_SUCCESS);
        let mut log = vec![0u8; bytes];
        assert_eq!(nvrtcGetProgramLog(program, log.as_mut_ptr().cast()), nvrtcResult::NVRTC_SUCCESS);
        let mut cubin = Vec::new();
        if result == nvrtcResult::NVRTC_SUCCESS {
            assert_eq!(nvrtcGetCUBINSize(program, &mut bytes), nvrtcResult::NVRTC_SUCCESS);
            cubin.resize(bytes, 0);
            assert_eq!(nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()), nvrtcResult::NVRTC_SUCCESS);
        }
        assert_eq!(nvrtcDestroyProgram(&mut program), nvrtcResult::NVRTC_SUCCESS);
        if result == nvrtcResult::NVRTC_SUCCESS {
            Ok(cubin)
        } else {
            Err((result, String::from_utf8_lossy(&log).into_owned()))
        }
    }
}

fn cubin(sm: &str) -> Vec<u8> {
    compile(SOURCE, &[&format!("--gpu-architecture={sm}"), "-DFACTOR=2.0f"]).expect("the source is right")
}

fn load(cubin: &[u8]) -> Result<CUmodule, CUresult> {
    let mut module = std::ptr::null_mut();
    match unsafe { cuModuleLoadData(&mut module, cubin.as_ptr().cast()) } {
        OK => Ok(module),
        error => Err(error),
    }
}

fn function(module: CUmodule, name: &str) -> Result<CUfunction, CUresult> {
    let name = CString::new(name).expect("no zeros");
    let mut function = std::ptr::null_mut();
    match unsafe { cuModuleGetFunction(&mut function, module, name.as_ptr()) } {
        OK => Ok(function),
        error => Err(error),
    }
}

fn kernel(name: &str) -> CUfunction {
    function(load(&cubin("sm_90")).expect("a whole CUBIN"), name).expect("it is there")
}

/// Launches `scale` on 100 values.
fn scale(function: CUfunction, values: u64, stream: cudarc::driver::sys::CUstream) -> CUresult {
    let (mut values, mut factor, mut count) = (values, 3.0f32, 100i32);
    let mut parameters: [*mut c_void; 3] =
        [(&raw mut values).cast(), (&raw mut factor).cast(), (&raw mut count).cast()];
    let launched = unsafe {
        cuLaunchKernel(function, 4, 1, 1, 32, 1, 1, 0, stream, parameters.as_mut_ptr(), std::ptr::null_mut())
    };
    // The arguments were copied: what the caller does with its own does not matter.
    factor = 100.0;
    assert_eq!(unsafe { parameters[1].cast::<f32>().read() }, factor);
    launched
}

#[test]
fn a_kernel_runs_with_the_arguments_of_its_launch() {
    let session = Session::new("schedule=lazy");
    let stream = session.stream();
    let module = load(&cubin("sm_90")).expect("a whole CUBIN");
    let kernel = function(module, "scale").expect("it is there");
    let values = session.uploaded(&[1.0f32; 100]);
    assert_eq!(scale(kernel, values, stream), OK);
    session.finish(stream);
    assert_eq!(session.peek::<f32>(values, 100), [6.0; 100]);
    assert_eq!(function(module, "absent"), Err(CUresult::CUDA_ERROR_NOT_FOUND));
    assert_eq!(unsafe { cuModuleUnload(module) }, OK);
    assert_eq!(scale(kernel, values, stream), CUresult::CUDA_ERROR_INVALID_HANDLE);
    assert_eq!(session.report()["alive"]["modules"], 0);
}

#[test]
fn a_divergent_barrier_ends_the_context() {
    let session = Session::new("");
    let stream = session.stream();
    let kernel = kernel("divergent");
    let mut values = session.device(400);
    let mut parameters: [*mut c_void; 1] = [(&raw mut values).cast()];
    let launched =
        unsafe { cuLaunchKernel(kernel, 1, 1, 1, 8, 1, 1, 0, stream, parameters.as_mut_ptr(), std::ptr::null_mut()) };
    assert_eq!(launched, OK);
    assert_eq!(unsafe { cuStreamSynchronize(stream) }, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert_eq!(unsafe { cuMemAlloc_v2(&mut 0, 1) }, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert!(session.violations()[0].contains("divergent"), "{:?}", session.violations());
}

#[test]
fn a_pointer_into_freed_memory_ends_the_context() {
    let session = Session::new("");
    let stream = session.stream();
    let kernel = kernel("scale");
    let values = session.device(400);
    assert_eq!(unsafe { cuMemFree_v2(values) }, OK);
    assert_eq!(scale(kernel, values + 8, stream), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}

#[test]
fn wrong_sources_and_options_are_errors_with_a_log() {
    let _session = Session::new("");
    let (result, log) =
        compile("extern \"C\" __global__ void broken(int* a) { a[0] = b; }", &["--gpu-architecture=sm_90"])
            .expect_err("no b");
    assert_eq!(result, nvrtcResult::NVRTC_ERROR_COMPILATION);
    assert!(log.contains("'b' was not declared"), "{log}");
    let (result, log) = compile("#include <cuda_bf16.h>\n", &["--gpu-architecture=sm_90"]).expect_err("no headers");
    assert!(result == nvrtcResult::NVRTC_ERROR_COMPILATION && log.contains("cuda_bf16.h"), "{log}");
    for options in [&["--gpu-architecture=sm_90", "--fast"][..], &["--gpu-architecture=compute_90"], &["-DFACTOR=1"]] {
        assert_eq!(
            compile(SOURCE, options).expect_err("an option is wrong").0,
            nvrtcResult::NVRTC_ERROR_INVALID_OPTION,
            "{options:?}"
        );
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
