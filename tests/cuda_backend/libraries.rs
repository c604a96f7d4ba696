//! Machines that have half of what is needed: the message names what is missing and what installs it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use alexnet::backend::cuda::libraries::{FOLDERS_VARIABLE, functions};
use serde_json::Value;

use crate::run::{Bench, Ran};

/// A step where only some of the libraries can be found.
fn train(libraries: &[&str], device: &str, settings: &[(&str, &str)]) -> Ran {
    Bench::with_libraries(libraries).train("run", &["--steps", "1", "--device", device], settings)
}

const ALL: [&str; 4] = ["libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13", "libcudnn.so.9"];

#[test]
fn a_missing_library_is_named_with_where_it_was_searched_and_what_installs_it() {
    let remedies =
        ["NVIDIA driver", "pip install nvidia-cuda-nvrtc", "pip install nvidia-cublas", "pip install nvidia-cudnn"];
    for (missing, remedy) in remedies.into_iter().enumerate() {
        let there: Vec<_> =
            ALL.into_iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, name)| name).collect();
        let Ran { code, stderr, .. } = train(&there, "cuda", &[]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        for expected in [ALL[missing], "was not found", "searched", remedy, "/libraries"] {
            assert!(stderr.contains(expected), "{expected} in {stderr}");
        }
    }
}

#[test]
fn auto_says_why_it_took_the_cpu() {
    let Ran { code, stdout, stderr, .. } = train(&ALL[..2], "auto", &[]);
    assert_eq!(code, Some(0), "{stderr}");
    for expected in ["device     cpu", "the CPU trains", "libcublasLt.so.13 or libcublasLt.so.12 was not found"] {
        assert!(stdout.contains(expected), "{expected} in {stdout}");
    }
}

#[test]
fn auto_takes_the_gpu_where_everything_is_there() {
    let Ran { code, stdout, stderr, .. } = train(&ALL, "auto", &[]);
    assert_eq!(code, Some(0), "{stderr}");
    for expected in ["Simulated H100 (cuda:0, sm_90), precision bf16", "driver for CUDA 13.0", "cuDNN 9.", "NVRTC 13."]
    {
        assert!(stdout.contains(expected), "{expected} in {stdout}");
    }
}

#[test]
fn machines_that_cannot_train_say_what_they_lack() {
    let cases = [
        (("DEVICES", "0"), "shows no GPU"),
        (("SM", "75"), "sm_75, expected sm_80"),
        (("DRIVER", "12060"), "speaks CUDA 12.6, expected at least 12.8"),
        // The simulated NVRTC and cuBLASLt are of CUDA 13.
        (("DRIVER", "12080"), "libnvrtc.so.12 was not found"),
    ];
    for (setting, expected) in cases {
        let Ran { code, stderr, .. } = train(&ALL, "cuda", &[setting]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{expected} in {stderr}");
        let Ran { code, stdout, stderr, .. } = train(&ALL, "auto", &[setting]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains(expected), "{expected} in {stdout}");
    }
}

/// A virtual environment that is not activated, with the libraries as pip installs them; its `bin` comes first in PATH.
fn in_environment_of_python(bench: &Bench) -> (&'static str, OsString) {
    let (bin, libraries) = (bench.path("env/bin"), bench.path("env/lib/python3.12/site-packages/nvidia/all/lib"));
    for folder in [&bin, &libraries] {
        fs::create_dir_all(folder).expect("a folder");
    }
    symlink("/usr/bin/python3", bin.join("python3")).expect("a link");
    for name in ALL {
        symlink(bench.path("libraries").join(name), libraries.join(name)).expect("a link");
    }
    first_in("PATH", bin)
}

/// A variable with a folder before those that are in it.
fn first_in(variable: &'static str, folder: PathBuf) -> (&'static str, OsString) {
    let others = std::env::var_os(variable).unwrap_or_default();
    let folders = [folder].into_iter().chain(std::env::split_paths(&others));
    (variable, std::env::join_paths(folders).expect("folders without colons"))
}

const NOT_NAMED: (&str, &str) = (FOLDERS_VARIABLE, "");

/// A folder for LD_LIBRARY_PATH with a library of one function.
fn shadow(bench: &Bench, name: &str, function: &str) -> (&'static str, OsString) {
    let folder = bench.path("shadow");
    fs::create_dir_all(&folder).expect("a folder");
    let source = folder.join("shadow.c");
    fs::write(&source, format!("int {function}(void) {{ return 0; }}")).expect("a source");
    let mut command = Command::new("cc");
    command.args(["-shared", "-o"]).arg(folder.join(name)).arg(&source);
    assert!(command.status().expect("a C compiler").success());
    first_in("LD_LIBRARY_PATH", folder)
}

#[test]
fn libraries_of_a_python_that_is_first_in_path_are_found() {
    let bench = Bench::with_libraries(&ALL);
    let environment = [in_environment_of_python(&bench), (NOT_NAMED.0, NOT_NAMED.1.into())];
    let ran = bench.with_environment(&environment).train("run", &["--steps", "1"], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_library_that_would_be_used_instead_of_the_named_one_is_an_error() {
    let bench = Bench::with_libraries(&ALL);
    let shadow = shadow(&bench, "libcudnn.so", "cudnnConvolutionBackwardData");
    let Ran { code, stderr, .. } = bench.with_environment(&[shadow]).train("run", &["--steps", "1"], &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("by the name libcudnn.so the loader finds"), "{stderr}");
    assert!(stderr.contains("/shadow/libcudnn.so, which would be used instead"), "{stderr}");
}

#[test]
fn a_library_without_all_functions_is_an_error_that_names_them() {
    let bench = Bench::with_libraries(&ALL);
    let environment = [
        in_environment_of_python(&bench),
        (NOT_NAMED.0, NOT_NAMED.1.into()),
        shadow(&bench, "libcudnn.so", "cudnnConvolutionBackwardData"),
    ];
    let Ran { code, stderr, .. } = bench.with_environment(&environment).train("run", &["--steps", "1"], &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("/shadow/libcudnn.so lacks cudnnConvolutionBackwardFilter, "), "{stderr}");
    assert!(stderr.contains("too old, or damaged; pip install nvidia-cudnn"), "{stderr}");
}

#[test]
fn a_missing_zlib_is_told_before_cudnn_fails() {
    let bench = Bench::with_libraries(&ALL);
    let folder = bench.path("broken");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("libz.so.1"), "no library").expect("a file");
    let environment = [first_in("LD_LIBRARY_PATH", folder)];
    let Ran { code, stderr, .. } = bench.with_environment(&environment).train("run", &["--steps", "1"], &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cuDNN needs libz.so.1 (") && stderr.contains("install zlib"), "{stderr}");
}

#[test]
fn all_functions_that_a_run_calls_are_looked_for_before() {
    let bench = Bench::new();
    let known = [functions::DRIVER, functions::NVRTC, functions::CUBLAS_LT, functions::CUDNN].concat();
    let tuned = bench.train("tuned", &["--tune"], &[]);
    tuned.assert_done();
    let failed = bench.train("failed", &[], &[("FAIL", "cudnnConvolutionForward:1")]);
    for ran in [tuned, failed] {
        let Value::Object(calls) = &ran.report["calls"] else { panic!("{}", ran.report) };
        let unknown: Vec<_> = calls.keys().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn a_number_beyond_the_gpus_is_wrong_usage() {
    let Ran { code, stderr, .. } = train(&ALL, "cuda:3", &[]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("expected a number below 1"), "{stderr}");
}
