//! Where the simulated CUDA lies, for `ALEXNET_CUDA_LIBRARIES`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The names under which the backend looks for CUDA's libraries.
const NAMES: [&str; 5] = ["libcuda.so.1", "libnvrtc.so.13", "libcudnn.so.9", "libcublasLt.so.13", "libnvidia-ml.so.1"];

/// The folder with the five libraries, made at the first call. Each is empty but for its name, and needs the one
/// library of the package `simulated-cuda`, which cargo built beside this test: all five share what it knows.
pub fn folder() -> PathBuf {
    let executable = std::env::current_exe().expect("the test knows its file");
    let built = executable.parent().expect("the test lies in a folder");
    assert!(
        built.join("libsimulated_cuda.so").exists(),
        "{}: no libsimulated_cuda.so, a dev-dependency's",
        built.display()
    );
    let folder = built.parent().expect("deps lies in a folder").join("simulated-cuda");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    // Many tests, in many processes, begin at once.
    let lock = File::create(folder.join("lock")).expect("the target folder can be written");
    lock.lock().expect("the file can be locked");
    for name in NAMES.iter().filter(|name| !folder.join(name).exists()) {
        link(&folder.join(name), name, built);
    }
    folder
}

/// Links an empty library that needs the simulated CUDA.
fn link(path: &Path, name: &str, built: &Path) {
    let unfinished = path.with_extension("unfinished");
    let mut command = Command::new("cc");
    command.args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"]).arg(&unfinished);
    command
        .arg(format!("-Wl,-soname,{name},--no-as-needed,-rpath,$ORIGIN/../deps"))
        .arg("-L")
        .arg(built)
        .arg("-lsimulated_cuda");
    let status = command.status().expect("a C compiler is installed as cc");
    assert!(status.success(), "cc: {status}");
    std::fs::rename(&unfinished, path).expect("the target folder can be written");
}
