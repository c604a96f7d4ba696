//! The simulated CUDA, found as the backend finds CUDA: by four names, with one state behind them.

#[path = "common/simulated.rs"]
mod simulated;

use std::ffi::{c_char, c_int};

use libloading::Library;
use libloading::os::unix::{Library as UnixLibrary, RTLD_LAZY, RTLD_LOCAL};

/// How often a function was called, by the report that this library gives.
fn count(library: &Library, function: &str) -> u64 {
    // SAFETY: the type is that of the simulation's function.
    let report = unsafe { library.get::<unsafe extern "C" fn(*mut c_char, usize) -> usize>(b"simulated_report") }
        .expect("it is there");
    // SAFETY: it writes nothing without a buffer, and else no more than the buffer's bytes.
    let bytes = unsafe {
        let mut text = vec![0u8; report(std::ptr::null_mut(), 0)];
        report(text.as_mut_ptr().cast(), text.len());
        text
    };
    let report: serde_json::Value = serde_json::from_slice(&bytes[..bytes.len() - 1]).expect("the report is JSON");
    report["calls"][function].as_u64().unwrap_or(0)
}

#[test]
fn four_libraries_are_found_by_their_names_and_share_one_state() {
    let folder = simulated::folder();
    let names = ["libcuda.so.1", "libnvrtc.so.13", "libcudnn.so.9", "libcublasLt.so.13"];
    // SAFETY: the simulation's initialisers do nothing.
    let opened = names.map(|name| unsafe { Library::new(folder.join(name)) }.expect("it was linked"));
    // SAFETY: the type is that of CUDA's function.
    let version = unsafe { opened[0].get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cuDriverGetVersion") }
        .expect("it is there");
    let mut value = 0;
    // SAFETY: the pointer is to a number that outlives the call.
    assert_eq!(unsafe { version(&mut value) }, 0);
    assert_eq!(value, 13000);
    for (library, function) in opened.iter().zip(["cuMemAlloc_v2", "nvrtcVersion", "cudnnCreate", "cublasLtMatmul"]) {
        // SAFETY: the symbol is only looked up.
        assert!(unsafe { library.get::<unsafe extern "C" fn()>(function.as_bytes()) }.is_ok(), "{function}");
        assert_eq!(count(library, "cuDriverGetVersion"), 1, "each shows the call made through the first");
    }
    for name in names {
        // SAFETY: as above. Bare names are what cudarc opens: the loader knows them from before.
        assert!(unsafe { UnixLibrary::open(Some(name), RTLD_LAZY | RTLD_LOCAL) }.is_ok(), "{name}");
    }
}
