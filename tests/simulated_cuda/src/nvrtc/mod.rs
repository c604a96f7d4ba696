//! libnvrtc: compiles device code as C++ for the host, with the shim in front.

pub mod cubin;
mod kernels;

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use cudarc::nvrtc::sys::{nvrtcProgram, nvrtcResult};

use crate::calls::Status;
use crate::table::Table;

/// The folder with `cuda_shim.h`.
const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shim");

impl Status for nvrtcResult {
    const SUCCESS: Self = Self::NVRTC_SUCCESS;
    const INTERNAL: Self = Self::NVRTC_ERROR_INTERNAL_ERROR;
    const NAMED: &'static [Self] = &[
        Self::NVRTC_ERROR_OUT_OF_MEMORY,
        Self::NVRTC_ERROR_INVALID_OPTION,
        Self::NVRTC_ERROR_COMPILATION,
        Self::NVRTC_ERROR_BUILTIN_OPERATION_FAILURE,
        Self::NVRTC_ERROR_INTERNAL_ERROR,
    ];

    fn usual_fault(function: &str) -> Self {
        match function {
            "nvrtcCreateProgram" => Self::NVRTC_ERROR_OUT_OF_MEMORY,
            "nvrtcCompileProgram" => Self::NVRTC_ERROR_COMPILATION,
            _ => Self::NVRTC_ERROR_INTERNAL_ERROR,
        }
    }
}

/// A program, before or after its compilation.
struct Program {
    source: String,
    log: String,
    cubin: Option<Vec<u8>>,
}

static PROGRAMS: Mutex<Table<Program>> = Mutex::new(Table::new(0x511));

fn programs() -> MutexGuard<'static, Table<Program>> {
    PROGRAMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Numbers of live objects by kind.
pub fn alive() -> [(&'static str, usize); 1] {
    [("programs", programs().len())]
}

/// Forgets all objects.
pub fn forget() {
    *programs() = Table::new(0x511);
}

fn with_program<T>(program: nvrtcProgram, use_it: impl FnOnce(&mut Program) -> T) -> Result<T, nvrtcResult> {
    programs().get_mut(program as u64).map(use_it).ok_or(nvrtcResult::NVRTC_ERROR_INVALID_PROGRAM)
}

fn answer<T>(place: *mut T, value: T) -> Result<(), nvrtcResult> {
    crate::driver::result::answer(place, value).map_err(|_| nvrtcResult::NVRTC_ERROR_INVALID_INPUT)
}

/// What the options ask for.
#[derive(Default)]
struct Options {
    sm: i32,
    definitions: Vec<String>,
}

impl Options {
    /// Reads options; an error names the one that is unknown or missing.
    fn parse(options: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        for option in options {
            let (name, value) = option.split_once('=').map_or((option.as_str(), ""), |(name, value)| (name, value));
            match name {
                "--gpu-architecture" => {
                    let digits = value.strip_prefix("sm_").map(|digits| digits.trim_end_matches(['a', 'f']));
                    let sm = digits.and_then(|digits| digits.parse().ok()).filter(|sm| (75..=121).contains(sm));
                    parsed.sm =
                        sm.ok_or_else(|| format!("nvrtc: error: invalid value for --gpu-architecture: {value}"))?;
                }
                "--std" if value == "c++17" => {}
                "--generate-line-info" if value.is_empty() => {}
                _ if option.starts_with("-D") => parsed.definitions.push(option.clone()),
                _ => return Err(format!("nvrtc: error: unrecognized option {option} found")),
            }
        }
        if parsed.sm == 0 { Err("the simulated NVRTC demands --gpu-architecture=sm_XX".to_owned()) } else { Ok(parsed) }
    }
}

/// The folder that this library's file lies in.
fn own_folder() -> Option<PathBuf> {
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let address: fn() -> Option<PathBuf> = own_folder;
    // SAFETY: asks where this function's code was loaded from; the name it gives lives as long as the code does.
    let name = unsafe {
        if libc::dladdr(address as *const libc::c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname)
    };
    Path::new(OsStr::from_bytes(name.to_bytes())).canonicalize().ok()?.parent().map(Path::to_path_buf)
}

/// Where compiled kernels are kept: `simulated-cuda/cubins` beside cargo's `deps`, if not told otherwise.
fn cache_folder() -> Option<PathBuf> {
    let asked = crate::device::lock().settings.cache.clone();
    let folder = asked.or_else(|| Some(own_folder()?.parent()?.join("simulated-cuda/cubins")))?;
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}

/// The texts of the shim, in the order of their names.
fn shim() -> std::io::Result<Vec<u8>> {
    let mut paths = std::fs::read_dir(SHIM)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    let texts = paths.iter().map(std::fs::read).collect::<std::io::Result<Vec<_>>>()?;
    Ok(texts.concat())
}

/// Compiles the whole translation unit to a CUBIN; the error is the compiler's log.
fn compile(source: &str, options: &Options) -> Result<Vec<u8>, String> {
    if let Some(line) = source.lines().find(|line| line.trim_start().starts_with("#include")) {
        return Err(format!("default_program(1): catastrophic error: cannot open source file ({})", line.trim()));
    }
    let mut unit = source.to_owned();
    for name in kernels::names(source) {
        unit.push_str(&format!("\nSIMULATED_KERNEL({name})"));
    }
    unit.push('\n');
    let header = Path::new(SHIM).join("cuda_shim.h");
    let shim = shim().map_err(|error| format!("{SHIM}: {error}"))?;
    let texts = options.definitions.iter().map(String::as_bytes).chain([unit.as_bytes(), &shim]);
    let key = cubin::hash(texts.flat_map(|text| text.iter().copied().chain([0])));
    let cached = cache_folder().map(|folder| folder.join(format!("{key:016x}.so")));
    let library = match cached.as_ref().and_then(|path| std::fs::read(path).ok()) {
        Some(library) => library,
        None => compile_library(&unit, &options.definitions, &header, cached.as_deref())?,
    };
    cubin::write(&library, options.sm)
}

/// Runs the compiler, and keeps what it made.
fn compile_library(
    unit: &str,
    definitions: &[String],
    header: &Path,
    cached: Option<&Path>,
) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| format!("simulated NVRTC: {error}");
    let folder = tempfile::tempdir().map_err(words)?;
    let (source, output) = (folder.path().join("default_program.cu"), folder.path().join("kernels.so"));
    std::fs::write(&source, unit).map_err(words)?;
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut command = Command::new(&compiler);
    command.env("LC_ALL", "C");
    command.args(["-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-w", "-include"]).arg(header).args(definitions);
    let finished = command.args(["-x", "c++"]).arg(&source).arg("-o").arg(&output).output();
    let finished = finished.map_err(|error| format!("simulated NVRTC: {}: {error}", compiler.display()))?;
    if !finished.status.success() {
        return Err(String::from_utf8_lossy(&finished.stderr).into_owned());
    }
    let library = std::fs::read(&output).map_err(words)?;
    // A cache that cannot be written only costs time.
    if let Some((path, folder)) = cached.and_then(|path| Some((path, path.parent()?)))
        && let Ok(mut file) = tempfile::NamedTempFile::new_in(folder)
        && file.write_all(&library).is_ok()
    {
        let _ = file.persist(path);
    }
    Ok(library)
}

exported! {
    fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> nvrtcResult {
        answer(major, 13)?;
        answer(minor, 0)
    }

    fn nvrtcCreateProgram(
        program: *mut nvrtcProgram, source: *const c_char, _name: *const c_char, num_headers: c_int,
        _headers: *const *const c_char, _names: *const *const c_char,
    ) -> nvrtcResult {
        if source.is_null() || num_headers != 0 {
            return Err(nvrtcResult::NVRTC_ERROR_INVALID_INPUT);
        }
        let source = CStr::from_ptr(source).to_str().map_err(|_| nvrtcResult::NVRTC_ERROR_INVALID_INPUT)?.to_owned();
        let handle = programs().insert(Program { source, log: String::new(), cubin: None });
        answer(program, handle as nvrtcProgram)
    }

    fn nvrtcCompileProgram(program: nvrtcProgram, num_options: c_int, options: *const *const c_char) -> nvrtcResult {
        let option = |index: usize| CStr::from_ptr(*options.add(index)).to_string_lossy().into_owned();
        let options: Vec<String> = (0..num_options.max(0) as usize).map(option).collect();
        let source = with_program(program, |program| program.source.clone())?;
        let fail = |log: String, result: nvrtcResult| with_program(program, |program| program.log = log).and(Err(result));
        let options = match Options::parse(&options) {
            Ok(options) => options,
            Err(log) => return fail(log, nvrtcResult::NVRTC_ERROR_INVALID_OPTION),
        };
        match compile(&source, &options) {
            Ok(cubin) => with_program(program, |program| program.cubin = Some(cubin)),
            Err(log) => fail(log, nvrtcResult::NVRTC_ERROR_COMPILATION),
        }
    }

    fn nvrtcDestroyProgram(program: *mut nvrtcProgram) -> nvrtcResult {
        if program.is_null() || programs().remove(*program as u64).is_none() {
            return Err(nvrtcResult::NVRTC_ERROR_INVALID_PROGRAM);
        }
        answer(program, std::ptr::null_mut())
    }

    fn nvrtcGetProgramLogSize(program: nvrtcProgram, bytes: *mut usize) -> nvrtcResult {
        answer(bytes, with_program(program, |program| program.log.len() + 1)?)
    }

    fn nvrtcGetProgramLog(program: nvrtcProgram, log: *mut c_char) -> nvrtcResult {
        let text = with_program(program, |program| program.log.clone() + "\0")?;
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), log, text.len());
        Ok(())
    }

    fn nvrtcGetCUBINSize(program: nvrtcProgram, bytes: *mut usize) -> nvrtcResult {
        let cubin_bytes = with_program(program, |program| program.cubin.as_ref().map(Vec::len))?;
        answer(bytes, cubin_bytes.ok_or(nvrtcResult::NVRTC_ERROR_INVALID_PROGRAM)?)
    }

    fn nvrtcGetCUBIN(program: nvrtcProgram, cubin: *mut c_char) -> nvrtcResult {
        let bytes = with_program(program, |program| program.cubin.clone())?.ok_or(nvrtcResult::NVRTC_ERROR_INVALID_PROGRAM)?;
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), cubin, bytes.len());
        Ok(())
    }
}
