//! compute-sanitizer, where it is installed: NVIDIA's tools watch our kernels for a few steps, for accesses, races and
//! uninitialised memory.

use std::process::Command;

use super::finding::Task;
use super::options::{Extent, GpuCheckOptions};
use super::outcome::Found;
use super::tool::{Ended, Tool, missing};
use alexnet::backend::cuda::kernels::source::kernel_names;
use alexnet::error::Result;

const PROGRAM: &str = "compute-sanitizer";
const TOOLS: [&str; 4] = ["memcheck", "racecheck", "initcheck", "synccheck"];
/// What it exits with where it found something: none of `train`'s codes.
const FOUND_SOMETHING: i32 = 86;
/// Lines of its report that the record has, at most.
const NUM_LINES: usize = 8;
const BATCH_SIZE: usize = 8;
const NUM_STEPS: usize = 3;

/// Runs `train` under each tool.
pub fn tasks<'a>(options: &'a GpuCheckOptions, extent: &'a Extent) -> Vec<Task<'a>> {
    if let Some(missing) = missing(PROGRAM, options) {
        return vec![Task::check(PROGRAM, || Ok(Found::skipped(missing)))];
    }
    let task = |tool| Task::check(format!("{PROGRAM}: {tool}"), move || watched(options, extent, tool));
    TOOLS.into_iter().map(task).collect()
}

fn watched(options: &GpuCheckOptions, extent: &Extent, tool: &str) -> Result<Found> {
    let watcher = Tool::new(PROGRAM)?;
    // Calls that fail on purpose, as cuDNN's and cuBLASLt's do, are no errors.
    let own = ["--tool", tool, "--error-exitcode", &FOUND_SOMETHING.to_string(), "--print-limit", "10"];
    let own = own.into_iter().chain(["--report-api-errors", "no"]).map(str::to_owned);
    let arguments: Vec<String> = own.chain(filters(filter_option())).collect();
    // Narrow and few: every kernel runs in 3 steps of them, and the tools slow a program down a hundredfold.
    let extent = Extent { width: extent.width.min(0.25), ..*extent };
    let ended = watcher.watch_train(&arguments, options, &extent, BATCH_SIZE, NUM_STEPS)?;
    let Ended::With(status) = ended else {
        let limit = extent.tool_limit.as_secs();
        return Ok(Found::skipped(format!("it did not end within {limit} s and was stopped")));
    };
    let lines = watcher.last_lines(NUM_LINES)?;
    Ok(match status.code() {
        Some(0) => Found::passed(format!("{NUM_STEPS} steps, nothing found")),
        Some(FOUND_SOMETHING) => Found::failed(format!("it found: {lines}")),
        _ => Found::failed(format!("train failed under it: {lines}")),
    })
}

/// The option that restricts it to kernels: newer ones have another name for it.
fn filter_option() -> &'static str {
    let help = Command::new(PROGRAM).arg("--help").output().map(|output| output.stdout).unwrap_or_default();
    if String::from_utf8_lossy(&help).contains("--kernel-name ") { "--kernel-name" } else { "--kernel-regex" }
}

/// Only our kernels: those of the libraries are NVIDIA's own, many, and slow to watch.
fn filters(option: &str) -> Vec<String> {
    let names = kernel_names();
    // A part of a name is enough.
    let is_covered = |name: &&&str| names.iter().any(|other| other != *name && name.contains(other));
    let shortest = names.iter().filter(|name| !is_covered(name));
    shortest.flat_map(|name| [option.to_owned(), format!("kns={name}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_are_watched_and_no_name_twice() {
        let names = kernel_names();
        assert!(names.len() >= 20 && names.iter().all(|name| !name.contains(' ')), "{names:?}");
        for expected in ["begin_step", "update", "conv_tail_backward_any_lrn", "arrange_input", "cast"] {
            assert!(names.contains(&expected), "{expected} in {names:?}");
        }
        let filters = filters("--kernel-name");
        assert!(filters.contains(&"kns=conv_tail_forward".to_owned()), "{filters:?}");
        assert!(!filters.contains(&"kns=conv_tail_forward_any_lrn".to_owned()), "{filters:?}");
    }
}
