//! Backends: what computes a step.
//!
//! In: host batches. Out: losses, counts, probabilities and weights. A backend owns its activations, gradients and
//! working memory, all allocated when it is made. [`Backend`] is what a trainer sees of it; what happens inside a step,
//! layer by layer, is `step.rs`'s.
//!
//! A training step by hand:
//!
//! ```
//! use alexnet::backend::{Backend, BackendOptions, Pass, Slot, StepScalars, cpu::CpuBackend};
//! use alexnet::input::Batch;
//! use alexnet::model::{Network, init::initial_parameters};
//! use alexnet::recipe::settings::ModelSettings;
//!
//! # fn main() -> alexnet::Result<()> {
//! let network = Network::new(&ModelSettings { width: 0.05, ..ModelSettings::default() }, 67, 10)?;
//! let options = BackendOptions::for_evaluation(4);
//! let mut backend = CpuBackend::new(&network, options, None);
//! let mut parameters = initial_parameters(&network, 0);
//! backend.load(&parameters)?;
//!
//! let mut batch = Batch::zeros(backend.input_dtype(), 4, network.input_values());
//! batch.num_valid = 4; // Four grey images of class 0.
//! backend.upload(Slot::Even, batch)?;
//! backend.run(Slot::Even, Pass::Train, StepScalars { step: 0, learning_rate: 0.01 })?;
//! let loss = backend.statistics(Slot::Even)?.loss_sum / 4.0;
//! assert!((loss - f64::ln(10.0)).abs() < 0.1, "as bad as guessing: {loss}");
//! backend.store(&mut parameters)?;
//! # Ok(())
//! # }
//! ```

mod choice;
mod compared;
pub mod cpu;
pub mod cuda;
mod device_times;
pub mod parity;
pub(crate) mod precision;
mod rank;
pub(crate) mod step;
pub mod synthetic;

pub use self::choice::{Choice, Chosen, DeviceChoice};
pub use self::compared::{Compared, WrongValue};
pub use self::device_times::DeviceTimes;
pub use self::precision::PrecisionChoice;
pub use self::rank::rank;
pub use self::step::{Call, calls};

use crate::error::Result;
use crate::input::{Batch, Dtype};
use crate::model::Parameters;
use crate::recipe::settings::{TrainSettings, UpdateRule};

/// Whether a pass learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Dropout on; activations are kept for the backward pass.
    Train,
    /// Dropout is off, and nothing is kept.
    Eval,
}

/// Which of a backend's two input buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Steps 0, 2, 4 and so on.
    Even,
    /// Steps 1, 3, 5 and so on.
    Odd,
}

impl Slot {
    /// Both slots, in the order of steps.
    pub const ALL: [Self; 2] = [Self::Even, Self::Odd];

    /// The slot whose turn it is.
    pub fn of_step(step: u64) -> Self {
        if step.is_multiple_of(2) { Self::Even } else { Self::Odd }
    }
}

/// The numbers that change from step to step; a recorded step reads them anew at each replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepScalars {
    /// Counts dropout's random numbers.
    pub step: u64,
    /// The same for all layers.
    pub learning_rate: f32,
}

/// What a backend is built for; none of it changes during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendOptions {
    /// Samples of a batch, at most.
    pub batch_size: usize,
    /// Keys the random numbers of dropout.
    pub seed: u64,
    /// How weights follow their gradients.
    pub update: UpdateRule,
    /// The part of each target that all classes share.
    pub label_smoothing: f32,
}

impl BackendOptions {
    /// What a recipe trains with.
    pub fn of(settings: &TrainSettings) -> Self {
        Self {
            batch_size: settings.batch_size,
            seed: settings.seed,
            update: settings.update_rule(),
            label_smoothing: settings.label_smoothing as f32,
        }
    }

    /// Enough for a backend that only evaluates, or that learns by the paper's rule.
    pub fn for_evaluation(batch_size: usize) -> Self {
        Self { batch_size, seed: 0, update: UpdateRule::PAPER, label_smoothing: 0.0 }
    }
}

/// What a step says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The sum of the samples' cross-entropies, in nats.
    pub loss_sum: f64,
    /// Samples whose class got the highest logit.
    pub num_top1: u64,
    /// Samples whose class is among the five highest logits.
    pub num_top5: u64,
    /// Samples of the batch that counted.
    pub num_samples: u64,
}

impl Statistics {
    /// Takes in the statistics of another step.
    pub fn add(&mut self, other: &Self) {
        self.loss_sum += other.loss_sum;
        self.num_top1 += other.num_top1;
        self.num_top5 += other.num_top5;
        self.num_samples += other.num_samples;
    }
}

/// How a batch comes to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Its bytes are copied to the device's own memory.
    Copied,
    /// The device reads it where it lies.
    HandedOver,
}

/// Who computes, for the first lines of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `cpu`, with the model and the threads.
    pub name: String,
    /// `f32`, `tf32` or `bf16`: the numbers that products are computed in.
    pub precision: &'static str,
    /// Bytes of activations, gradients, weights and working memory.
    pub memory_bytes: u64,
    /// Where a GPU sits, as its driver and NVML both name it: `00000000:01:00.0`.
    pub pci_bus_id: Option<String>,
}

/// A network on a device, as a trainer, an evaluation or a bench drives it: batches go up to one slot while a step runs
/// on the other.
pub trait Backend {
    /// Names the device, its precision and its memory.
    fn device(&self) -> &Device;
    /// The type in which it wants batches.
    fn input_dtype(&self) -> Dtype;
    /// What becomes of the batches that it is given.
    fn transfer(&self) -> Transfer {
        Transfer::Copied
    }

    /// Takes weights and velocities over.
    fn load(&mut self, parameters: &Parameters) -> Result<()>;
    /// Copies weights and velocities out.
    fn store(&mut self, parameters: &mut Parameters) -> Result<()>;

    /// Begins to bring a batch to the device; the batch stays with the backend until [`Backend::reclaim`].
    fn upload(&mut self, slot: Slot, batch: Batch) -> Result<()>;
    /// Gives a slot's batch back once the device no longer reads it; nothing where none lies.
    fn reclaim(&mut self, slot: Slot) -> Result<Option<Batch>>;

    /// Runs a step on the batch in `slot`: forward and loss, and in training backward and the update. It may return
    /// before the device is done.
    fn run(&mut self, slot: Slot, pass: Pass, scalars: StepScalars) -> Result<()>;
    /// Runs a training step call by call, each alone, and says how many seconds each took. Nothing where nothing is
    /// computed.
    fn run_timed(&mut self, slot: Slot, scalars: StepScalars) -> Result<Vec<(Call, f64)>>;

    /// What the last step on the slot found; waits for it.
    fn statistics(&mut self, slot: Slot) -> Result<Statistics>;
    /// When the device did the last step on the slot and the upload that the step read; waits for it. `None` where the
    /// calls return only when their work is done: there the caller's clock says as much.
    fn device_times(&mut self, _slot: Slot) -> Result<Option<DeviceTimes>> {
        Ok(None)
    }
    /// The softmax outputs of the last evaluation on the slot, (num_valid, num_classes); waits for it.
    fn probabilities(&mut self, slot: Slot) -> Result<&[f32]>;

    /// What a layer's block gave last, (batch_size, output values) with images as (C, H, W); waits for it.
    fn output(&mut self, layer: usize) -> Result<Vec<f32>>;
    /// Copies the gradients of the last training step to where `parameters` has its values; waits for it.
    fn gradients(&mut self, parameters: &mut Parameters) -> Result<()>;
}
