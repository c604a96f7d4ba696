//! compute-sanitizer, where it is installed: NVIDIA's tools watch a few steps for accesses, races and uninitialised
//! memory.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::options::{Extent, GpuCheckOptions};
use super::outcome::{Checked, Found};
use alexnet::error::{Error, IoContext, Result};

const PROGRAM: &str = "compute-sanitizer";
const TOOLS: [&str; 4] = ["memcheck", "racecheck", "initcheck", "synccheck"];
/// What it exits with where it found something: none of `train`'s codes.
const FOUND_SOMETHING: i32 = 86;
/// Lines of its report that the record has, at most.
const NUM_LINES: usize = 8;

/// Runs `train` under each tool.
pub fn check(options: &GpuCheckOptions) -> Vec<Checked> {
    let path = env::var_os("PATH");
    if !path.iter().flat_map(env::split_paths).any(|folder| folder.join(PROGRAM).is_file()) {
        return vec![Checked::skipped(PROGRAM, format!("{PROGRAM} is not installed (not in PATH)"))];
    }
    if !options.train.exists() {
        let missing = format!("{} is not there, the binary that it runs", options.train.display());
        return vec![Checked::skipped(PROGRAM, missing)];
    }
    let tried = |tool: &&str| Checked::tried(format!("{PROGRAM}: {tool}"), || watched(options, tool));
    TOOLS.iter().map(tried).collect()
}

fn watched(options: &GpuCheckOptions, tool: &str) -> Result<Found> {
    let folder = tempfile::tempdir().at("create a folder in", env::temp_dir())?;
    let report = folder.path().join("report");
    let output = fs::File::create(&report).at("create", &report)?;
    let errors = output.try_clone().at("write", &report)?;
    let mut command = Command::new(PROGRAM);
    command.args(["--tool", tool, "--error-exitcode", &FOUND_SOMETHING.to_string(), "--print-limit", "10"]);
    command.arg(&options.train).args(["--synthetic", "--steps", "3", "--no-graph", "--recipe", "small"]);
    command.args(["--device", &format!("cuda:{}", options.ordinal), "--metrics", "off"]);
    command.arg("--run").arg(folder.path().join("run"));
    // Narrow and few: every kernel runs in 3 steps of them, and the tools slow a program down a hundredfold.
    for set in (Extent { width: options.extent.width.min(0.25), ..options.extent }).sets(8) {
        command.args(["--set", &set]);
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let Some(code) = ended(command, options.extent.sanitizer_limit)? else {
        let limit = options.extent.sanitizer_limit.as_secs();
        return Ok(Found { holds: false, what: format!("it did not end within {limit} s and was stopped") });
    };
    let lines = last_lines(&report)?;
    Ok(match code {
        Some(0) => Found { holds: true, what: "3 steps, nothing found".into() },
        Some(FOUND_SOMETHING) => Found { holds: false, what: format!("it found: {lines}") },
        _ => Found { holds: false, what: format!("train failed under it: {lines}") },
    })
}

/// The exit code, if there was one; none at all where the time was over.
fn ended(mut command: Command, limit: Duration) -> Result<Option<Option<i32>>> {
    let begun = Instant::now();
    let mut child = command.spawn().at("run", Path::new(PROGRAM))?;
    loop {
        if let Some(status) = child.try_wait().at("wait for", Path::new(PROGRAM))? {
            return Ok(Some(status.code()));
        }
        if begun.elapsed() >= limit {
            child.kill().and_then(|()| child.wait()).at("stop", Path::new(PROGRAM))?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn last_lines(report: &Path) -> Result<String> {
    let bytes = fs::read(report).map_err(|source| Error::Io { action: "read", path: report.to_path_buf(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(NUM_LINES)..].join(" / "))
}
