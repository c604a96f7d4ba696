//! `log.jsonl`: what happened, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::publish::publish_bytes;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The mean of the steps since the line before.
    Step,
    /// The mean of an epoch's steps.
    Epoch,
    /// The error on the validation split.
    Validation,
    /// Something that happened once: `event` says what.
    Event,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What the line is about.
    pub kind: Kind,
    /// Steps done when it was written.
    pub step: u64,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The mean cross-entropy, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The share of samples whose class is not the likeliest, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1_error: Option<f64>,
    /// The share of samples whose class is not among the five likeliest, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5_error: Option<f64>,
    /// Of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Images trained (or validated) a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// How long the trainer waited for batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_wait_seconds: Option<f64>,
    /// How long the steps took in all, or the validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Seconds since 1970, UTC.
    pub time: f64,
    /// Of an event: what happened, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl Line {
    /// A line with nothing but its place and the present time.
    pub fn new(kind: Kind, step: u64, epoch: u32) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self {
            kind,
            step,
            epoch,
            loss: None,
            top1_error: None,
            top5_error: None,
            learning_rate: None,
            images_per_second: None,
            input_wait_seconds: None,
            seconds: None,
            time,
            event: None,
        }
    }
}

/// The log of a run, open at its end.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    file: File,
}

impl RunLog {
    /// Opens the log of the run's folder for a run that has done `step` steps: lines of later steps, which a run that
    /// was killed after its last checkpoint leaves behind, are dropped.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = run.join("log.jsonl");
        if path.exists() {
            let mut kept: Vec<u8> = Vec::new();
            for line in BufReader::new(File::open(&path).at("read", &path)?).split(b'\n') {
                let line = line.at("read", &path)?;
                // A killed run may leave half a line at the end.
                if serde_json::from_slice::<Line>(&line).is_ok_and(|line| line.step <= step) {
                    kept.extend_from_slice(&line);
                    kept.push(b'\n');
                }
            }
            publish_bytes(&kept, &path)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).at("open", &path)?;
        Ok(Self { path, file })
    }

    /// Appends a line, in one write.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
        self.file.write_all(text.as_bytes()).at("write", &self.path)
    }

    /// Writes a line of kind `event`.
    pub fn event(&mut self, step: u64, epoch: u32, event: impl Into<String>) -> Result<()> {
        self.write(&Line { event: Some(event.into()), ..Line::new(Kind::Event, step, epoch) })
    }
}

/// All whole lines of a run's log. What is behind the last line break is being written, or was when the run was killed.
pub fn read(run: &Path) -> Result<Vec<Line>> {
    let path = run.join("log.jsonl");
    let text = std::fs::read(&path).at("read", &path)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let line = |(number, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|error| Error::data(&path, format!("line {}: {error}", number + 1)))
    };
    text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reopening_drops_later_steps_and_half_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RunLog::open(folder.path(), 0).unwrap();
        for step in 1..=5 {
            log.write(&Line { loss: Some(1.5), ..Line::new(Kind::Step, step, 0) }).unwrap();
        }
        log.file.write_all(b"{\"kind\":\"st").unwrap();
        assert_eq!(read(folder.path()).unwrap().len(), 5);
        let mut log = RunLog::open(folder.path(), 3).unwrap();
        log.event(3, 0, "resumed").unwrap();
        let steps: Vec<_> = read(folder.path()).unwrap().iter().map(|line| (line.kind, line.step)).collect();
        assert_eq!(steps, [(Kind::Step, 1), (Kind::Step, 2), (Kind::Step, 3), (Kind::Event, 3)]);
    }
}
