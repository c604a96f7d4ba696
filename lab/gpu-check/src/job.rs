//! The jobs of a check, in the order in which they are done: what decides most comes first. Each is done by a process
//! of its own.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::finding::Task;
use super::options::{Extent, GpuCheckOptions, Networks, Part};
use super::{alone, determinism, machine, nan, overlap, parity, profile, sanitizer, speeds};
use alexnet::backend::cuda::Gpu;
use alexnet::error::{IoContext, Result};
use alexnet::synthetic::dataset::coloured_dataset;

/// What one process does, task by task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Opens the libraries and the card: without them there is nothing to check.
    Machine,
    /// The smallest comparisons with the CPU, in which every layer and every default kernel runs.
    FirstParity,
    /// A step's time, as it trains and in other manners.
    Steps,
    /// Every kernel alone.
    Kernels,
    /// Every product of the libraries alone.
    Products,
    /// The kernels and algorithms of a step.
    Runs,
    /// The card's ceilings, and a step line by line.
    Calls,
    /// All other comparisons, and NaN in every layer.
    Parity,
    Overlap,
    Batches,
    /// Writes the dataset that the next ones train on.
    Dataset,
    Determinism,
    Stages,
    Profile,
    Sanitizer,
}

/// What a process knows of the job that it does.
pub struct Work<'a> {
    /// None where other programs use the GPU.
    pub gpu: Option<&'a Gpu>,
    pub options: &'a GpuCheckOptions,
    pub extent: &'a Extent,
    /// The folder of the dataset.
    pub shards: PathBuf,
}

impl Work<'_> {
    pub fn gpu(&self) -> &Gpu {
        self.gpu.expect("the job uses the GPU itself")
    }
}

/// A validation split must not be empty.
const NUM_VAL: usize = 16;

impl Job {
    /// In order.
    pub const ALL: [Self; 15] = [
        Self::Machine,
        Self::FirstParity,
        Self::Steps,
        Self::Kernels,
        Self::Products,
        Self::Runs,
        Self::Calls,
        Self::Parity,
        Self::Overlap,
        Self::Batches,
        Self::Dataset,
        Self::Determinism,
        Self::Stages,
        Self::Profile,
        Self::Sanitizer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "the machine",
            Self::FirstParity => "parity, the smallest networks",
            Self::Steps => "bench: the step",
            Self::Kernels => "kernels alone",
            Self::Products => "products alone",
            Self::Runs => "what runs",
            Self::Calls => "bench: a step line by line",
            Self::Parity => "parity",
            Self::Overlap => "overlap",
            Self::Batches => "bench: batch sizes",
            Self::Dataset => "the dataset",
            Self::Determinism => "determinism",
            Self::Stages => "bench: stages",
            Self::Profile => "Nsight Compute",
            Self::Sanitizer => "compute-sanitizer",
        }
    }

    /// Whether it belongs to what was asked for.
    pub fn is_wanted(self, only: Option<Part>) -> bool {
        let wanted = |part| only.is_none_or(|only| only == part);
        match self {
            Self::Machine => true,
            Self::FirstParity | Self::Parity => wanted(Part::Parity),
            Self::Steps | Self::Calls | Self::Batches | Self::Stages => wanted(Part::Bench),
            Self::Dataset => wanted(Part::Determinism) || wanted(Part::Bench),
            Self::Kernels => wanted(Part::Kernels),
            Self::Products => wanted(Part::Products),
            Self::Runs => wanted(Part::Runs),
            Self::Determinism => wanted(Part::Determinism),
            Self::Overlap => wanted(Part::Overlap),
            Self::Profile => wanted(Part::Profile),
            Self::Sanitizer => wanted(Part::Sanitizer),
        }
    }

    /// Whether its claims are about one call each, and stand in a table of their own.
    pub fn is_of_calls_alone(self) -> bool {
        matches!(self, Self::Kernels | Self::Products)
    }

    /// Whether it trains on shards.
    pub fn needs_dataset(self) -> bool {
        matches!(self, Self::Determinism | Self::Stages)
    }

    /// Whether its process opens the GPU: a program that it watches does so itself.
    pub fn uses_gpu(self) -> bool {
        !self.runs_programs() && self != Self::Dataset
    }

    /// Whether it runs other programs, which must go with it.
    pub fn runs_programs(self) -> bool {
        matches!(self, Self::Profile | Self::Sanitizer)
    }

    /// Whether clocks and power are worth knowing.
    pub fn is_measured(self) -> bool {
        matches!(self, Self::Steps | Self::Calls | Self::Batches | Self::Stages)
    }

    /// How long one of its tasks may take.
    pub fn task_limit(self, extent: &Extent) -> Duration {
        // They have limits of their own.
        if self.runs_programs() { 2 * extent.tool_limit } else { extent.task_limit }
    }

    pub fn tasks<'a>(self, work: &'a Work<'a>) -> Vec<Task<'a>> {
        let Work { extent, options, shards, .. } = work;
        match self {
            Self::Machine => vec![machine::task(work.gpu())],
            Self::FirstParity => parity::tasks(work.gpu(), parity::cases(Networks::Few)),
            Self::Parity => {
                let mut tasks = parity::tasks(work.gpu(), parity::remaining_cases(extent.networks));
                tasks.extend(nan::tasks(work.gpu()));
                tasks
            }
            Self::Kernels => alone::kernel_tasks(work.gpu()),
            Self::Products => alone::product_tasks(work.gpu()),
            Self::Steps => speeds::step_tasks(work.gpu(), extent),
            Self::Runs => speeds::run_tasks(work.gpu(), extent),
            Self::Calls => speeds::call_tasks(work.gpu(), extent),
            Self::Batches => speeds::batch_tasks(work.gpu(), extent),
            Self::Stages => vec![speeds::stage_task(work.gpu(), shards, extent)],
            Self::Overlap => vec![overlap::task(work.gpu(), extent)],
            Self::Determinism => determinism::tasks(work.gpu(), shards, extent),
            Self::Dataset => vec![Task::silent(self.name(), || dataset(work))],
            Self::Profile => vec![profile::task(options, extent)],
            Self::Sanitizer => sanitizer::tasks(options, extent),
        }
    }
}

fn dataset(work: &Work<'_>) -> Result<()> {
    alexnet::tell!("writing {} images of noise", work.extent.num_samples);
    std::fs::create_dir_all(&work.shards).at("create", &work.shards)?;
    coloured_dataset(&work.shards, work.extent.num_samples, NUM_VAL, work.extent.num_classes, 1)?;
    Ok(())
}
