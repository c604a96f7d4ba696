//! What a run is asked for.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::metrics::server::Address;
use crate::backend::synthetic::Pace;
use crate::error::{Error, Result};

/// Everything that `train` can be told, as the library takes it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the images come from.
    pub data: Data,
    /// The run's folder; by default a new one under `runs/`.
    pub run: Option<PathBuf>,
    /// A recipe's name or file; by default `alexnet`, or the run's own when it resumes.
    pub recipe: Option<String>,
    /// `KEY=VALUE`, applied in order.
    pub sets: Vec<String>,
    /// Where the weights come from.
    pub start: Start,
    /// The run ends when it has done so many steps, counted from its beginning, also before its last epoch.
    pub steps: Option<u64>,
    /// Who computes.
    pub device: DeviceChoice,
    /// In which numbers.
    pub precision: PrecisionChoice,
    /// Threads that augment.
    pub workers: Option<usize>,
    /// Threads that compute on the CPU; by default all cores.
    pub threads: Option<NonZeroUsize>,
    /// A checkpoint after so many steps, beside those at the ends of epochs.
    pub checkpoint_every: Option<u64>,
    /// How many of the newest checkpoints stay; the first and the best always do.
    pub keep: usize,
    /// A line in the log after so many steps.
    pub log_every: u64,
    /// Where Prometheus scrapes.
    pub metrics: Address,
    /// Where a timeline of the run goes.
    pub trace: Option<PathBuf>,
}

impl Options {
    /// The defaults of the command line.
    pub fn new(data: Data) -> Self {
        Self {
            data,
            run: None,
            recipe: None,
            sets: Vec::new(),
            start: Start::Fresh,
            steps: None,
            device: DeviceChoice::Auto,
            precision: PrecisionChoice::Auto,
            workers: None,
            threads: None,
            checkpoint_every: None,
            keep: 3,
            log_every: 10,
            metrics: Address::Default,
            trace: None,
        }
    }
}

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A packed dataset.
    Shards(PathBuf),
    /// Made-up batches of 1000 classes: what the device can do alone.
    Synthetic,
}

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The recipe's initial values.
    Fresh,
    /// A checkpoint's weights, at step 0.
    Init(PathBuf),
    /// The run's newest checkpoint, at its step.
    Resume,
}

/// `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best there is.
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU of that number.
    Cuda(u32),
    /// One that takes the times it is given and computes nothing.
    Synthetic(Pace),
}

impl DeviceChoice {
    /// `device`, unless the times of a synthetic one are given: a step's, and an upload's, which takes none by default.
    pub fn paced(device: Self, step: Option<Duration>, upload: Option<Duration>) -> Self {
        step.map_or(device, |step| Self::Synthetic(Pace { upload: upload.unwrap_or_default(), step }))
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok();
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(number).map(Self::Cuda),
        }
        .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".into())
    }
}

/// `--precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// The fastest that the device has.
    Auto,
    /// Products of bfloat16.
    Bf16,
    /// Products of TF32.
    Tf32,
    /// Single precision throughout.
    F32,
}

impl FromStr for PrecisionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "bf16" => Ok(Self::Bf16),
            "tf32" => Ok(Self::Tf32),
            "f32" => Ok(Self::F32),
            _ => Err("expected auto, bf16, tf32 or f32".into()),
        }
    }
}

/// Refuses a device or a precision that this build has not.
pub fn check_device(device: DeviceChoice, precision: PrecisionChoice) -> Result<()> {
    if let DeviceChoice::Cuda(number) = device {
        return Err(Error::usage(format!("--device cuda:{number}: this version trains on the CPU only; --device cpu")));
    }
    if !matches!(precision, PrecisionChoice::Auto | PrecisionChoice::F32) {
        return Err(Error::usage("--precision: the CPU computes in f32 only; --precision f32"));
    }
    Ok(())
}
