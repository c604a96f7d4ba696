//! NVIDIA's tools around `train`, where they are installed.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::options::{Extent, GpuCheckOptions};
use alexnet::error::{IoContext, Result};

/// A program and what it wrote.
pub struct Tool {
    program: &'static str,
    folder: TempDir,
}

/// How it ended.
pub enum Ended {
    With(ExitStatus),
    /// It did not, in its time. What it started may still run.
    Stopped,
}

/// Why a program cannot watch `train` here, if it cannot.
pub fn missing(program: &str, options: &GpuCheckOptions) -> Option<String> {
    let path = env::var_os("PATH");
    if !path.iter().flat_map(env::split_paths).any(|folder| folder.join(program).is_file()) {
        return Some(format!("{program} is not installed (not in PATH)"));
    }
    let missing = || format!("{} is not there, the binary that it runs", options.train.display());
    (!options.train.exists()).then(missing)
}

impl Tool {
    pub fn new(program: &'static str) -> Result<Self> {
        Ok(Self { program, folder: tempfile::tempdir().at("create a folder in", env::temp_dir())? })
    }

    /// Standard output and errors, in one file.
    fn report(&self) -> PathBuf {
        self.file("report")
    }

    /// A file that goes with it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its own arguments, then those of a run of `train` on synthetic batches, launched kernel by kernel.
    pub fn watch_train(
        &self,
        arguments: &[String],
        options: &GpuCheckOptions,
        extent: &Extent,
        batch_size: usize,
        num_steps: usize,
    ) -> Result<Ended> {
        let mut command = Command::new(self.program);
        command.args(arguments).arg(&options.train);
        command.args(["--synthetic", "--steps", &num_steps.to_string(), "--no-graph", "--recipe", "small"]);
        command.args(["--device", &format!("cuda:{}", options.ordinal), "--metrics", "off"]);
        command.arg("--run").arg(self.folder.path().join("run"));
        extent.sets(batch_size).iter().for_each(|set| {
            command.args(["--set", set]);
        });
        self.ended(command, extent.tool_limit)
    }

    fn ended(&self, mut command: Command, limit: Duration) -> Result<Ended> {
        let (report, program) = (self.report(), Path::new(self.program));
        let output = File::create(&report).at("create", &report)?;
        let errors = output.try_clone().at("write", &report)?;
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().at("run", program)?;
        loop {
            if let Some(status) = child.try_wait().at("wait for", program)? {
                return Ok(Ended::With(status));
            }
            if begun.elapsed() >= limit {
                child.kill().and_then(|()| child.wait()).at("stop", program)?;
                return Ok(Ended::Stopped);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of its report that say something.
    pub fn last_lines(&self, num_lines: usize) -> Result<String> {
        let report = self.report();
        let text = String::from_utf8_lossy(&fs::read(&report).at("read", &report)?).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Ok(lines[lines.len().saturating_sub(num_lines)..].join(" / "))
    }
}
