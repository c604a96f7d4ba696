//! Backends: what computes a step. The border is cut at the learned layer.
//!
//! In: host batches and the order of a step, written once in [`step`]. Out: losses, counts, probabilities and
//! weights. A backend owns its activations, gradients and working memory, all allocated when it is made.

mod choice;
pub mod cpu;
pub mod cuda;
mod device_times;
pub(crate) mod precision;
mod rank;
pub mod step;
pub mod synthetic;

pub use self::choice::{Choice, Chosen, DeviceChoice, Work};
pub use self::device_times::DeviceTimes;
pub use self::precision::PrecisionChoice;
pub use self::rank::rank;

use crate::error::Result;
use crate::input::{Batch, Dtype};
use crate::model::Parameters;

/// Whether a pass learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Dropout on; activations are kept for the backward pass.
    Train,
    /// Dropout off.
    Eval,
}

/// Which of a backend's two input buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Even steps.
    Even,
    /// Odd steps.
    Odd,
}

impl Slot {
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
    /// Of all layers.
    pub learning_rate: f32,
}

/// What a backend is built for; none of it changes during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendOptions {
    /// Samples of a batch, at most.
    pub batch_size: usize,
    /// Of dropout.
    pub seed: u64,
    /// v = momentum v - weight_decay lr w - lr g; w = w + v.
    pub momentum: f32,
    /// Of weights and biases alike.
    pub weight_decay: f32,
}

impl BackendOptions {
    /// For a backend that only evaluates.
    pub fn looking(batch_size: usize) -> Self {
        Self { batch_size, seed: 0, momentum: 0.0, weight_decay: 0.0 }
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
    /// Samples that counted.
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
    /// `f32`.
    pub precision: &'static str,
    /// Bytes of activations, gradients, weights and working memory.
    pub memory_bytes: u64,
}

/// Eight learned layers forward and backward, the loss, the update, and the ways in and out.
///
/// A step is a sequence of these calls, given once to [`Backend::replay`]; [`step`] holds the sequences. Layers count from 0
/// (conv1) to 7 (fc8).
pub trait Backend {
    /// Who computes.
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

    /// Runs the calls that `body` makes on the batch in `slot`. A backend may record them at the first time of a
    /// (slot, pass) and replay the recording from then on, so `body` must make the same calls each time.
    fn replay(
        &mut self,
        slot: Slot,
        pass: Pass,
        scalars: StepScalars,
        body: fn(&mut Self, Pass) -> Result<()>,
    ) -> Result<()>;
    /// A block forward, from the output of the block before it (the input, for layer 0).
    fn forward(&mut self, layer: usize, pass: Pass) -> Result<()>;
    /// Softmax and cross-entropy over the logits; in training also their gradient.
    fn loss(&mut self, pass: Pass) -> Result<()>;
    /// A block backward: the gradients of its weights, biases and input (but for layer 0).
    fn backward(&mut self, layer: usize) -> Result<()>;
    /// A layer's weights and velocities, from its gradients.
    fn update(&mut self, layer: usize) -> Result<()>;

    /// What the last step on the slot found; waits for it.
    fn statistics(&mut self, slot: Slot) -> Result<Statistics>;
    /// When the device did the last step on the slot and the upload that the step read; waits for it. `None` where the
    /// calls return only when their work is done: there the caller's clock says as much.
    fn device_times(&mut self, _slot: Slot) -> Result<Option<DeviceTimes>> {
        Ok(None)
    }
    /// The softmax outputs of the last evaluation on the slot, (num_valid, num_classes); waits for it.
    fn probabilities(&mut self, slot: Slot) -> Result<&[f32]>;
}
