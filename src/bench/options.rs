//! What a bench is asked for.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::Choice;
use crate::input::Dtype;

/// Everything that `bench` can be told, as the library takes it.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The folder of a packed dataset; without one, batches are synthetic.
    pub shards: Option<PathBuf>,
    /// A recipe's name or file; by default `alexnet`.
    pub recipe: Option<String>,
    /// `KEY=VALUE`, applied in order.
    pub sets: Vec<String>,
    /// Who computes, and how.
    pub compute: Choice,
    /// Threads that augment; by default as many as suit the device.
    pub workers: Option<usize>,
    /// The one stage to measure; all by default.
    pub only: Option<Stage>,
    /// The type of the batches where input alone is measured; by default the backend's.
    pub dtype: Option<Dtype>,
    /// How often and how long.
    pub effort: Effort,
}

/// A part of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Batches are made and given back at once.
    Input,
    /// The same two batches go to the device again and again.
    Upload,
    /// Steps on two batches that lie on the device.
    Device,
    /// Training as `train` does it, without validations and checkpoints.
    EndToEnd,
}

impl Stage {
    /// As the command line and the JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Upload => "upload",
            Self::Device => "device",
            Self::EndToEnd => "end-to-end",
        }
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stages = [Self::Input, Self::Upload, Self::Device, Self::EndToEnd];
        let found = stages.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| "expected input, upload, device or end-to-end".into())
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Every stage in turn, so often.
    pub rounds: usize,
    /// Of a stage in a round; at least one step is measured, however long it takes.
    pub stage_time: Duration,
}

impl Effort {
    /// Some 20 seconds in all.
    pub const QUICK: Self = Self { rounds: 3, stage_time: Duration::from_millis(1500) };
    /// Several minutes in all.
    pub const THOROUGH: Self = Self { rounds: 9, stage_time: Duration::from_secs(6) };

    /// Calls `step` until it was called `most` times or a stage's time is over: at least once.
    pub(super) fn warm_up<E>(&self, most: usize, mut step: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        let begun = Instant::now();
        for _ in 0..most {
            step()?;
            if begun.elapsed() >= self.stage_time {
                break;
            }
        }
        Ok(())
    }

    /// Calls `step` until a stage's time is over, at least once. Gives the number of calls and the time that they took.
    pub(super) fn measure<E>(&self, mut step: impl FnMut() -> Result<(), E>) -> Result<(usize, f64), E> {
        let (begun, mut num_steps) = (Instant::now(), 0);
        loop {
            step()?;
            num_steps += 1;
            let elapsed = begun.elapsed();
            if elapsed >= self.stage_time {
                return Ok((num_steps, elapsed.as_secs_f64()));
            }
        }
    }
}
