//! Who computes: the CPU or a GPU, from what was asked for and what the machine has.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;

use indicatif::HumanBytes;

use super::cpu::CpuBackend;
use super::cuda::{CudaOptions, Gpu, Precision};
use super::precision::PrecisionChoice;
use super::synthetic::{Pace, SyntheticBackend};
use super::{Backend, BackendOptions};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::Network;

/// A device as `--device` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    Auto,
    /// This machine's processor.
    Cpu,
    /// The NVIDIA GPU of that number.
    Cuda(u32),
    /// A device that takes the times it is given and computes nothing.
    Synthetic(Pace),
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

/// What a command says of who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The device that was asked for.
    pub device: DeviceChoice,
    /// The precision that was asked for.
    pub precision: PrecisionChoice,
    /// Threads that compute on the CPU; by default all cores.
    pub threads: Option<NonZeroUsize>,
    /// What only a GPU can be told.
    pub cuda: CudaOptions,
}

impl Choice {
    /// A device, and defaults for the rest.
    pub fn of(device: DeviceChoice) -> Self {
        Self { device, precision: PrecisionChoice::Auto, threads: None, cuda: CudaOptions::default() }
    }
}

/// A device that is there, and how it will compute.
#[derive(Debug)]
pub enum Chosen {
    /// This machine's processor.
    Cpu {
        /// Threads that compute; by default all cores.
        threads: Option<NonZeroUsize>,
        /// Why no GPU was taken, where one was welcome.
        why: Option<String>,
    },
    /// An NVIDIA GPU that can train.
    Cuda {
        /// The card and its libraries.
        gpu: Gpu,
        /// What was asked for, or the fastest that it has.
        precision: Precision,
        /// How its backend runs.
        options: CudaOptions,
    },
    /// Nobody, in chosen times.
    Synthetic(Pace),
}

impl Chosen {
    /// Looks for a GPU where one is wanted or welcome. A GPU's context is current on this thread only.
    pub fn new(choice: &Choice) -> Result<Self> {
        let cpu = |why: Option<String>| {
            if !matches!(choice.precision, PrecisionChoice::Auto | PrecisionChoice::F32) {
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                let problem = "--precision: the CPU computes in f32 only; --precision f32";
                return Err(Error::usage(format!("{problem}{why}")));
            }
            Ok(Self::Cpu { threads: choice.threads, why })
        };
        match choice.device {
            DeviceChoice::Cpu => cpu(None),
            DeviceChoice::Synthetic(pace) => Ok(Self::Synthetic(pace)),
            DeviceChoice::Cuda(ordinal) => Self::gpu(ordinal, choice),
            DeviceChoice::Auto => Self::gpu(0, choice).or_else(|reason| cpu(Some(reason.to_string()))),
        }
    }

    fn gpu(ordinal: u32, choice: &Choice) -> Result<Self> {
        let gpu = Gpu::open(ordinal)?;
        let precision = gpu.precision(choice.precision)?;
        Ok(Self::Cuda { gpu, precision, options: choice.cuda })
    }

    /// A backend with zero weights.
    pub fn open(&self, network: &Network, options: BackendOptions) -> Result<Box<dyn Backend>> {
        match self {
            Self::Cpu { threads, .. } => Ok(Box::new(CpuBackend::new(network, options, *threads))),
            Self::Synthetic(pace) => Ok(Box::new(SyntheticBackend::new(network, options, *pace, Clock::Wall))),
            Self::Cuda { gpu, precision, options: cuda } => gpu.backend(network, options, cuda, *precision),
        }
    }

    /// Threads that augment beside it: one fills batches many times faster than a CPU trains, and a GPU takes all that
    /// there are.
    pub fn default_workers(&self) -> usize {
        match self {
            Self::Cpu { .. } => 1,
            // One core is the trainer's.
            Self::Cuda { .. } | Self::Synthetic(_) => {
                available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
            }
        }
    }

    /// What a person wants to know of it beside its name: nothing of a CPU that was asked for.
    pub fn describe(&self) -> Result<Option<String>> {
        match self {
            Self::Synthetic(_) => Ok(Some("nothing is computed, and nothing learned".into())),
            Self::Cpu { why, .. } => Ok(why.as_ref().map(|why| format!("the CPU trains: {why}"))),
            Self::Cuda { gpu, .. } => {
                let (context, versions) = (gpu.context(), gpu.versions());
                let (free, total) = context.memory()?;
                Ok(Some(format!(
                    "{} of {} free, driver for CUDA {}, {versions}",
                    HumanBytes(free),
                    HumanBytes(total),
                    versions.driver()
                )))
            }
        }
    }
}
