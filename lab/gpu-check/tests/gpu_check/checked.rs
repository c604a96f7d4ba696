//! `gpu-check` on the simulated CUDA, and what it leaves.

use std::fs;
use std::path::Path;
use std::process::Command;

use alexnet::backend::cuda::libraries::FOLDERS_VARIABLE;
use alexnet::backend::cuda::libraries::compile::CACHE_VARIABLE;

use crate::simulated;

/// What a check left.
pub struct Checked {
    pub code: Option<i32>,
    pub stderr: String,
    pub record: String,
}

pub fn command(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-check"));
    command.args(["--tiny", "--commit", "abc123", "--out"]).arg(folder).args(arguments);
    command.env(FOLDERS_VARIABLE, simulated::folder()).env(CACHE_VARIABLE, simulated::folder().join("cache"));
    command.env("SIMULATED_CUDA_CACHE", simulated::folder().join("cubins"));
    command.envs(settings.iter().copied());
    command
}

pub fn gpu_check(arguments: &[&str], settings: &[(&str, &str)]) -> Checked {
    let folder = tempfile::tempdir().expect("a folder");
    let output = command(folder.path(), arguments, settings).output().expect("the command starts");
    Checked {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        record: record(folder.path()).unwrap_or_default(),
    }
}

pub fn record(folder: &Path) -> Option<String> {
    let mut records = fs::read_dir(folder).ok()?.map(|entry| entry.expect("an entry").path());
    let record = records.find(|path| path.extension().is_some_and(|extension| extension == "md"))?;
    Some(fs::read_to_string(record).expect("the record"))
}
