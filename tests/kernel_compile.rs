//! NVIDIA's own compiler takes every kernel, for every architecture and number type, and keeps all values in registers.
//!
//! No GPU is needed: `tools/fetch-nvrtc` brings the compiler.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, c_char};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;
use std::sync::OnceLock;

use alexnet::backend::cuda::Capability;
use alexnet::backend::cuda::Real;
use alexnet::backend::cuda::kernels::source::{SOURCE, kernel_names, options};
use cudarc::nvrtc::sys::{self, nvrtcResult};
use half::bf16;

/// Set where the compiler must be there: `tools/test` has fetched it.
const REQUIRE_VARIABLE: &str = "ALEXNET_REQUIRE_NVRTC";

/// A100, H100, B200.
const CAPABILITIES: [Capability; 3] =
    [Capability { major: 8, minor: 0 }, Capability { major: 9, minor: 0 }, Capability { major: 10, minor: 0 }];

/// What ptxas says of a kernel.
#[derive(Debug, Default, PartialEq)]
struct Resources {
    registers: u32,
    shared_bytes: u32,
    stack_bytes: u32,
    spilled_bytes: u32,
}

/// Where `tools/fetch-nvrtc` has put NVIDIA's packages.
fn fetched() -> Option<PathBuf> {
    let folder = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let pythons = fs::read_dir(folder.join("nvrtc/lib")).ok()?;
    let folders = pythons.flatten().map(|python| python.path().join("site-packages/nvidia/cu13"));
    folders.into_iter().find(|folder| folder.join("lib/libnvrtc.so.13").exists())
}

/// Whether NVRTC can be called from now on.
fn nvrtc_is_here() -> bool {
    static IS_HERE: OnceLock<bool> = OnceLock::new();
    *IS_HERE.get_or_init(|| {
        // The second opens the first by its name.
        let libraries = ["libnvrtc-builtins.so.13.0", "libnvrtc.so.13"];
        for library in fetched().iter().flat_map(|folder| libraries.map(|name| folder.join("lib").join(name))) {
            // SAFETY: NVIDIA's libraries set up nothing but themselves when they are opened.
            let opened = unsafe { libloading::Library::new(&library) };
            // Kept: cudarc finds an open library by its name.
            std::mem::forget(opened.unwrap_or_else(|error| panic!("{}: {error}", library.display())));
        }
        // SAFETY: opens the library and closes it.
        let is_here = unsafe { sys::is_culib_present() };
        let is_required = env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
        assert!(is_here || !is_required, "no libnvrtc.so.13, and {REQUIRE_VARIABLE}=1: run tools/fetch-nvrtc");
        if !is_here {
            eprintln!("skipped: no libnvrtc.so.13; tools/fetch-nvrtc brings it, and no GPU is needed");
        }
        is_here
    })
}

/// Compiles, and returns the machine code and what the compiler said.
fn compile(source: &str, options: &[String]) -> Result<(Vec<u8>, String), String> {
    let text = |text: &str| CString::new(text).unwrap();
    let (source, options) = (text(source), options.iter().map(|option| text(option)).collect::<Vec<_>>());
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = ptr::null_mut();
    // SAFETY: strings and pointers live until the program is destroyed, and each buffer is as long as NVRTC says.
    unsafe {
        let created =
            sys::nvrtcCreateProgram(&raw mut program, source.as_ptr(), ptr::null(), 0, ptr::null(), ptr::null());
        assert_eq!(created, nvrtcResult::NVRTC_SUCCESS);
        let compiled = sys::nvrtcCompileProgram(program, pointers.len() as i32, pointers.as_ptr());
        let mut log_bytes = 0;
        assert_eq!(sys::nvrtcGetProgramLogSize(program, &raw mut log_bytes), nvrtcResult::NVRTC_SUCCESS);
        let mut log = vec![0_u8; log_bytes];
        assert_eq!(sys::nvrtcGetProgramLog(program, log.as_mut_ptr().cast()), nvrtcResult::NVRTC_SUCCESS);
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        let mut cubin = Vec::new();
        if compiled == nvrtcResult::NVRTC_SUCCESS {
            let mut cubin_bytes = 0;
            assert_eq!(sys::nvrtcGetCUBINSize(program, &raw mut cubin_bytes), nvrtcResult::NVRTC_SUCCESS);
            cubin.resize(cubin_bytes, 0);
            assert_eq!(sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()), nvrtcResult::NVRTC_SUCCESS);
        }
        assert_eq!(sys::nvrtcDestroyProgram(&raw mut program), nvrtcResult::NVRTC_SUCCESS);
        if compiled == nvrtcResult::NVRTC_SUCCESS { Ok((cubin, log)) } else { Err(log) }
    }
}

/// Reads ptxas's report.
fn resources(log: &str) -> BTreeMap<String, Resources> {
    let mut all = BTreeMap::<String, Resources>::new();
    let mut name = String::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            name = rest.split('\'').next().unwrap().to_owned();
        }
        // `24 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads`; `Used 80 registers, ..., 16384 bytes
        // smem`.
        let before = |words: &str| -> u32 {
            let number = line.split(',').find_map(|part| part.trim().strip_suffix(words));
            number.map_or(0, |number| number.split_whitespace().last().unwrap().parse().unwrap())
        };
        let own = all.entry(name.clone()).or_default();
        if line.contains("spill stores") {
            own.stack_bytes = before(" bytes stack frame");
            own.spilled_bytes = before(" bytes spill stores") + before(" bytes spill loads");
        } else if line.contains("Used ") {
            own.registers = before(" registers");
            own.shared_bytes = before(" bytes smem");
        }
    }
    all.remove("");
    all
}

fn compile_and_report<R: Real>() {
    if !nvrtc_is_here() {
        return;
    }
    for capability in CAPABILITIES {
        let mut options = options::<R>(capability);
        options.push("--ptxas-options=-v".to_owned());
        let (cubin, log) = compile(SOURCE, &options).unwrap_or_else(|log| panic!("{options:?}:\n{log}"));
        assert!(cubin.starts_with(b"\x7fELF"), "{options:?}: not machine code");
        assert!(!log.contains("warning"), "{options:?}:\n{log}");
        let resources = resources(&log);
        let mut expected = kernel_names();
        expected.sort_unstable();
        assert_eq!(resources.keys().collect::<Vec<_>>(), expected, "{options:?}");
        println!("{options:?}: {} bytes", cubin.len());
        for (name, own) in &resources {
            let Resources { registers, shared_bytes, .. } = own;
            println!("{name:26} {registers:4} registers a thread {shared_bytes:6} bytes of shared memory a block");
            assert!(own.registers > 0, "{options:?}, {name}: no registers in the report:\n{log}");
            assert_eq!((own.spilled_bytes, own.stack_bytes), (0, 0), "{options:?}, {name}: values leave the registers");
        }
    }
}

#[test]
fn every_kernel_compiles_for_bf16_without_spills() {
    compile_and_report::<bf16>();
}

#[test]
fn every_kernel_compiles_for_f32_without_spills() {
    compile_and_report::<f32>();
}

#[test]
fn an_error_names_the_file_and_the_line() {
    if !nvrtc_is_here() {
        return;
    }
    let broken = SOURCE.replace("store_octet(working + at, load_octet(values + at));", "store_octet(working);");
    let log = compile(&broken, &options::<f32>(CAPABILITIES[1])).unwrap_err();
    assert!(log.contains("kernels/update.cu("), "{log}");
}

/// Instructions of the largest loop of each kernel in NVIDIA's machine code, as nvdisasm prints it.
fn loops(code: &str) -> BTreeMap<&str, usize> {
    let mut loops = BTreeMap::new();
    let (mut kernel, mut count, mut labels) = ("", 0, BTreeMap::new());
    for line in code.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix(".text.").and_then(|rest| rest.strip_suffix(':')) {
            (kernel, count, labels) = (name, 0, BTreeMap::new());
        } else if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, count);
        } else if let Some((_, instruction)) = line.strip_prefix("/*").and_then(|rest| rest.split_once("*/"))
            && instruction.contains(';')
            && !instruction.contains("NOP")
        {
            count += 1;
            let target = instruction.contains("BRA").then(|| instruction.split('`').nth(1)).flatten();
            let target = target.and_then(|target| labels.get(target.trim_matches(['(', ')', ' ', ';'])));
            if let Some(begun) = target {
                let longest = loops.entry(kernel).or_insert(0);
                *longest = (count - begun).max(*longest);
            }
        }
    }
    loops
}

/// The tails are bound by how many instructions they issue: of the paper's, four pixels of eight channels a round.
#[test]
fn the_tails_take_few_instructions() {
    // Found 699, 676 and 681, and 1412, 1406 and 1477 for the three architectures; a little more may come with another
    // compiler.
    const MOST: [(&str, usize); 2] = [("conv_tail_forward", 720), ("conv_tail_backward", 1520)];
    if !nvrtc_is_here() {
        return;
    }
    let disassembler = fetched().expect("tools/fetch-nvrtc has run").join("bin/nvdisasm");
    let folder = tempfile::tempdir().unwrap();
    for capability in CAPABILITIES {
        let (cubin, _) = compile(SOURCE, &options::<bf16>(capability)).unwrap();
        let path = folder.path().join("kernels.cubin");
        fs::write(&path, cubin).unwrap();
        let output = Command::new(&disassembler).arg("-c").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let code = String::from_utf8(output.stdout).unwrap();
        let loops = loops(&code);
        for (kernel, most) in MOST {
            let found = loops[kernel];
            println!("sm_{}{} {kernel}: {found} instructions", capability.major, capability.minor);
            assert!((most / 2..=most).contains(&found), "{kernel}: {found} instructions, expected at most {most}");
        }
    }
}
