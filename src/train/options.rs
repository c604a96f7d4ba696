//! What a run is asked for.

use std::path::PathBuf;

use super::server::Address;
use crate::backend::{Choice, DeviceChoice};
use crate::input::PipelineOptions;

/// Everything that `train` can be told, as the library takes it.
#[derive(Clone, Debug)]
pub struct TrainOptions {
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
    /// Who computes, and how.
    pub compute: Choice,
    /// Threads that augment; by default as many as suit the device.
    pub workers: Option<usize>,
    /// Host batches that exist: look-ahead, and all of the input's memory.
    pub buffers: usize,
    /// A checkpoint after so many steps, beside those at the ends of epochs.
    pub checkpoint_every: Option<u64>,
    /// How many of the newest checkpoints stay; the first and the best always do.
    pub keep: usize,
    /// A line in the log after so many steps.
    pub log_every: u64,
    /// Where the live page and the metrics are served.
    pub metrics: Address,
    /// Where a timeline of the run goes.
    pub trace: Option<PathBuf>,
}

impl TrainOptions {
    /// The defaults of the command line.
    pub fn new(data: Data) -> Self {
        Self {
            data,
            run: None,
            recipe: None,
            sets: Vec::new(),
            start: Start::Fresh,
            steps: None,
            compute: Choice::of(DeviceChoice::Auto),
            workers: None,
            buffers: PipelineOptions::DEFAULT_BUFFERS,
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
    /// The folder of a packed dataset.
    Shards(PathBuf),
    /// Synthetic batches of 1000 classes: what the device can do alone.
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
