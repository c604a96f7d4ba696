//! The process that does one job, and is told which by a hidden argument.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpgrp, getppid, kill_process_group};
use serde::{Deserialize, Serialize};

use super::finding::Note;
use super::job::{Job, Work};
use super::options::GpuCheckOptions;
use super::outcome::{Outcome, with_causes};
use alexnet::backend::PrecisionChoice;
use alexnet::backend::cuda::Gpu;
use alexnet::error::{Error, IoContext, Result};

/// What a process is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildOptions {
    pub job: Job,
    /// Tasks that were done before.
    pub from: usize,
    /// The file of [`Note`]s, to which it appends.
    pub notes: PathBuf,
    pub shards: PathBuf,
    pub options: GpuCheckOptions,
}

/// Does the tasks that are left of a job, until one fails: what a process of [`crate::run`] is started for. `text` is
/// what that wrote.
pub fn perform(text: &str) -> Result<()> {
    let child: ChildOptions =
        serde_json::from_str(text).map_err(|error| Error::usage(format!("--job is for gpu-check itself: {error}")))?;
    die_with_the_parent();
    let mut notes = Notes::open(&child.notes)?;
    match tasks_from(&child, &mut notes) {
        Ok(()) => Ok(()),
        Err(error) => notes.write(&Note::Refused(with_causes(&error))),
    }
}

fn tasks_from(child: &ChildOptions, notes: &mut Notes) -> Result<()> {
    let ChildOptions { job, options, .. } = child;
    let extent = options.scale.extent();
    let gpu = match job.uses_gpu() {
        true => {
            let gpu = Gpu::open(options.ordinal)?;
            // None computes on too old a card.
            gpu.precision(PrecisionChoice::Auto)?;
            Some(gpu)
        }
        false => None,
    };
    let work = Work { gpu: gpu.as_ref(), options, extent: &extent, shards: child.shards.clone() };
    for (index, task) in job.tasks(&work).into_iter().enumerate().skip(child.from) {
        notes.write(&Note::Begun(task.name.clone()))?;
        fault(child, index);
        let mut finding = (task.run)();
        // What a tool that was stopped has started must go too, and so must this process.
        let stopped = finding.checked().is_some_and(|checked| checked.outcome == Outcome::Skipped);
        let has_failed = finding.has_failed();
        notes.write(&Note::Found(finding))?;
        if job.runs_programs() && (has_failed || stopped) {
            end_the_group();
        }
        if has_failed {
            return Ok(());
        }
    }
    notes.write(&Note::Ended)
}

/// `--fault JOB:TASK:KIND`, to show what becomes of it: the job by the name of its variant.
fn fault(child: &ChildOptions, index: usize) {
    let place = format!("{:?}:{index}:", child.job);
    match child.options.fault.as_deref().and_then(|fault| fault.strip_prefix(&place)) {
        Some("abort") => std::process::abort(),
        Some("panic") => panic!("a fault that was asked for"),
        Some("hang") => thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
}

/// In a process group of its own this process hears no Ctrl-C.
fn die_with_the_parent() {
    let parent = getppid();
    thread::spawn(move || {
        while getppid() == parent {
            thread::sleep(Duration::from_millis(100));
        }
        end_the_group();
    });
}

fn end_the_group() {
    // Where it cannot be killed there is nothing else to do.
    let _ = kill_process_group(getpgrp(), Signal::KILL);
}

struct Notes {
    file: File,
    path: PathBuf,
}

impl Notes {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).at("open", path)?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    fn write(&mut self, note: &Note) -> Result<()> {
        let line = serde_json::to_string(note).expect("words and numbers are JSON");
        self.file.write_all(format!("{line}\n").as_bytes()).at("write", &self.path)
    }
}
