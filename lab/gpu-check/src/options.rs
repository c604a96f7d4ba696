//! What a check is asked for.

use std::path::PathBuf;
use std::time::Duration;

use alexnet::backend::cuda::ceilings::CeilingExtent;
use alexnet::bench::Effort;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Everything that `gpu-check` can be told, as the library takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GpuCheckOptions {
    /// `cuda:N`.
    pub ordinal: u32,
    /// The one part to do; all by default.
    pub only: Option<Part>,
    /// How large everything is.
    pub scale: Scale,
    /// When to stop, whatever is left; by default as the scale says.
    pub deadline_seconds: Option<u64>,
    /// The folder of the record.
    pub out: PathBuf,
    /// For the record: how it was called.
    pub command: String,
    /// For the record: the source that was built.
    pub commit: String,
    /// The binary that compute-sanitizer runs.
    pub train: PathBuf,
    /// A fault that a task is to have, for tests.
    pub fault: Option<String>,
}

impl GpuCheckOptions {
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline_seconds.map_or(self.scale.extent().deadline, Duration::from_secs)
    }
}

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// The smallest of everything.
    Tiny,
    /// Within six minutes.
    Quick,
    /// Within an hour.
    Full,
}

impl Scale {
    pub(crate) fn extent(self) -> Extent {
        match self {
            Self::Tiny => Extent::TINY,
            Self::Quick => Extent::QUICK,
            Self::Full => Extent::FULL,
        }
    }
}

/// A part of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Part {
    /// Every kernel alone against the CPU's operations.
    Kernels,
    /// Every convolution and product alone against its sums.
    Products,
    /// Every tensor of a step and of an evaluation against the CPU backend's.
    Parity,
    /// Bitwise reproducible runs.
    Determinism,
    /// The next batch's upload under the step.
    Overlap,
    /// NVIDIA's compute-sanitizer over a few steps.
    Sanitizer,
    /// Ceilings and speeds.
    Bench,
    /// The kernels of a step, and the libraries' algorithms.
    Runs,
    /// Nsight Compute over a few steps.
    Profile,
}

/// What a scale means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    /// As the record names it.
    pub(crate) name: &'static str,
    pub(crate) networks: Networks,
    /// `model.width` of what trains and is measured.
    pub(crate) width: f64,
    /// Its `augment.crop` and `augment.canvas`.
    pub(crate) crop: usize,
    pub(crate) canvas: usize,
    pub(crate) batch_size: usize,
    /// Outputs of fc8, and classes of the synthetic dataset.
    pub(crate) num_classes: usize,
    /// Training images of the synthetic dataset.
    pub(crate) num_samples: usize,
    /// Steps of each run that must be bitwise reproducible.
    pub(crate) determinism_steps: u64,
    /// Steps whose uploads are expected under the steps before them.
    pub(crate) overlap_steps: u64,
    pub(crate) ceilings: CeilingExtent,
    /// Steps whose calls are timed.
    pub(crate) call_steps: usize,
    /// Batch sizes of the benchmark.
    pub(crate) batch_sizes: &'static [usize],
    pub(crate) effort: Effort,
    /// Measures a step in each manner so often and long.
    pub(crate) step_effort: Effort,
    /// How long a check or a measurement may take.
    pub(crate) task_limit: Duration,
    /// How long each of NVIDIA's tools may take.
    pub(crate) tool_limit: Duration,
    /// How long everything may take, if nothing else is said.
    pub(crate) deadline: Duration,
}

/// Which networks are compared with the CPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Networks {
    /// A few narrow ones on small inputs.
    Few,
    /// Every variant, narrow, and the paper's network.
    Most,
    /// Also the paper's network at batches of 128.
    All,
}

impl Extent {
    pub const FULL: Self = Self {
        name: "full",
        networks: Networks::All,
        determinism_steps: 20,
        overlap_steps: 100,
        call_steps: 50,
        effort: Effort { rounds: 7, stage_time: Duration::from_secs(2) },
        step_effort: Effort { rounds: 3, stage_time: Duration::from_secs(2) },
        task_limit: Duration::from_secs(300),
        tool_limit: Duration::from_secs(300),
        deadline: Duration::from_secs(3600),
        ..Self::QUICK
    };
    pub const QUICK: Self = Self {
        name: "quick",
        networks: Networks::Most,
        width: 1.0,
        crop: 224,
        canvas: 227,
        batch_size: 128,
        num_classes: 1000,
        num_samples: 2048,
        determinism_steps: 8,
        overlap_steps: 30,
        ceilings: CeilingExtent { copy_bytes: 1 << 29, product_side: 8192, repeats: 10 },
        call_steps: 15,
        batch_sizes: &[32, 64, 128, 256, 512],
        effort: Effort { rounds: 3, stage_time: Duration::from_secs(1) },
        step_effort: Effort { rounds: 1, stage_time: Duration::from_secs(1) },
        task_limit: Duration::from_secs(60),
        tool_limit: Duration::from_secs(60),
        deadline: Duration::from_secs(360),
    };
    /// Seconds, also where a CPU plays the GPU: shows that the check works, and nothing about a GPU's speed.
    pub const TINY: Self = Self {
        name: "tiny",
        networks: Networks::Few,
        width: 0.05,
        crop: 64,
        canvas: 67,
        batch_size: 8,
        num_classes: 10,
        num_samples: 32,
        determinism_steps: 6,
        overlap_steps: 6,
        ceilings: CeilingExtent { copy_bytes: 1 << 16, product_side: 64, repeats: 2 },
        call_steps: 2,
        batch_sizes: &[4, 8],
        effort: Effort { rounds: 1, stage_time: Duration::from_millis(20) },
        step_effort: Effort { rounds: 1, stage_time: Duration::from_millis(20) },
        // Where a CPU plays the GPU it may have other things to do.
        task_limit: Duration::from_secs(300),
        tool_limit: Duration::from_secs(300),
        deadline: Duration::from_secs(1800),
    };

    /// The recipe's keys for what trains and is measured, at that batch size.
    pub(crate) fn sets(&self, batch_size: usize) -> Vec<String> {
        let Self { width, crop, canvas, .. } = self;
        vec![
            format!("model.width={width:?}"),
            format!("augment.crop={crop}"),
            format!("augment.canvas={canvas}"),
            format!("train.batch_size={batch_size}"),
        ]
    }

    /// Whether an upload is long enough, and a step, for one to be seen under the other.
    pub(crate) fn shows_overlap(&self) -> bool {
        self.networks != Networks::Few
    }
}
