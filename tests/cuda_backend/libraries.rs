//! Machines that have half of what is needed: the message names what is missing and what installs it.

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
        (("DRIVER", "11080"), "speaks CUDA 11.8, expected at least 12.0"),
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

#[test]
fn a_number_beyond_the_gpus_is_wrong_usage() {
    let Ran { code, stderr, .. } = train(&ALL, "cuda:3", &[]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("expected a number below 1"), "{stderr}");
}
