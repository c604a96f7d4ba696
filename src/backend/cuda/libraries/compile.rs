//! Kernels from source to machine code: by NVRTC the first time, from the disk afterwards.

use std::env;
use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use xxhash_rust::xxh3::xxh3_128;

use crate::backend::cuda::driver::warned;
use crate::error::{Error, IoContext, Result};
use crate::publish::publish_bytes;

/// Where compiled kernels are kept; by default `alexnet` in the user's folder for caches.
pub const CACHE_VARIABLE: &str = "ALEXNET_CACHE";

/// Bytes of the checksum that stands before a cached CUBIN.
const CHECKSUM_BYTES: usize = size_of::<u128>();

/// The CUBIN of `source`, compiled with `options` by the NVRTC of that version. Processes may ask for the same one at
/// the same time: files appear whole or not at all.
pub fn cubin(source: &str, options: &[String], nvrtc: (u32, u32)) -> Result<Vec<u8>> {
    let key = xxh3_128(format!("{nvrtc:?}\n{options:?}\n{source}").as_bytes());
    let Some(path) = cache_folder().map(|folder| folder.join(format!("kernels-{key:032x}.cubin"))) else {
        return compile(source, options);
    };
    if let Some(cubin) = cached(&path) {
        return Ok(cubin);
    }
    let cubin = compile(source, options)?;
    if let Err(error) = keep(&cubin, &path) {
        // Nothing is lost but the next start's seconds.
        crate::tell!("warning: compiled kernels are not kept: {error}; {CACHE_VARIABLE} names another folder");
    }
    Ok(cubin)
}

/// The folder of caches; none where the user has no home.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder(CACHE_VARIABLE)
        .or_else(|| folder("XDG_CACHE_HOME").map(|folder| folder.join("alexnet")))
        .or_else(|| folder("HOME").map(|folder| folder.join(".cache/alexnet")))
}

/// What the file holds, if it is what was written.
fn cached(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let (checksum, cubin) = bytes.split_at_checked(CHECKSUM_BYTES)?;
    (checksum == xxh3_128(cubin).to_le_bytes()).then(|| cubin.to_vec())
}

fn keep(cubin: &[u8], path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).at("create", folder)?;
    let mut bytes = xxh3_128(cubin).to_le_bytes().to_vec();
    bytes.extend_from_slice(cubin);
    publish_bytes(&bytes, path)
}

/// A program under compilation.
struct Program(nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `nvrtcCreateProgram`.
        warned(check("nvrtcDestroyProgram", unsafe { sys::nvrtcDestroyProgram(&raw mut self.0) }));
    }
}

fn compile(source: &str, options: &[String]) -> Result<Vec<u8>> {
    let text = |text: &str| CString::new(text).expect("neither kernels nor options have zero bytes");
    let (source, name) = (text(source), text("alexnet.cu"));
    let options: Vec<CString> = options.iter().map(|option| text(option)).collect();
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = std::ptr::null_mut();
    // SAFETY: the strings end in a zero byte and outlive the call; no headers are given.
    check("nvrtcCreateProgram", unsafe {
        sys::nvrtcCreateProgram(&raw mut program, source.as_ptr(), name.as_ptr(), 0, std::ptr::null(), std::ptr::null())
    })?;
    let program = Program(program);
    // SAFETY: the program was made above; the options' strings outlive the call.
    let compiled = unsafe { sys::nvrtcCompileProgram(program.0, pointers.len() as c_int, pointers.as_ptr()) };
    if compiled != nvrtcResult::NVRTC_SUCCESS {
        let log = log(&program).unwrap_or_else(|error| error.to_string());
        return Err(Error::Device(format!("nvrtcCompileProgram failed: {compiled:?} with {options:?}:\n{log}")));
    }
    let mut num_bytes = 0;
    // SAFETY: the program is compiled, and the pointer outlives the call.
    check("nvrtcGetCUBINSize", unsafe { sys::nvrtcGetCUBINSize(program.0, &raw mut num_bytes) })?;
    let mut cubin = vec![0_u8; num_bytes];
    // SAFETY: there is room for as many bytes as the call before gave.
    check("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast()) })?;
    Ok(cubin)
}

/// What the compiler says.
fn log(program: &Program) -> Result<String> {
    let mut num_bytes = 0;
    // SAFETY: the program exists, and the pointer outlives the call.
    check("nvrtcGetProgramLogSize", unsafe { sys::nvrtcGetProgramLogSize(program.0, &raw mut num_bytes) })?;
    let mut log = vec![0_u8; num_bytes];
    // SAFETY: there is room for as many bytes as the call before gave.
    check("nvrtcGetProgramLog", unsafe { sys::nvrtcGetProgramLog(program.0, log.as_mut_ptr().cast()) })?;
    Ok(String::from_utf8_lossy(&log).trim_end_matches('\0').to_string())
}

fn check(call: &'static str, result: nvrtcResult) -> Result<()> {
    match result {
        nvrtcResult::NVRTC_SUCCESS => Ok(()),
        other => Err(Error::Device(format!("{call} failed: {other:?}"))),
    }
}
