//! What kernels and host both know: structures in device memory and among parameters.

use bytemuck::{Pod, Zeroable};

use crate::model;

/// The numbers of a step; in device memory, one a slot, so that a recorded step reads them anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Scalars {
    /// Counts dropout's random numbers.
    pub step: u64,
    /// Of all layers.
    pub learning_rate: f32,
    /// Samples of the batch that count.
    pub num_valid: u32,
}

/// What a step says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepStatistics {
    /// The sum of the samples' cross-entropies, in nats.
    pub loss_sum: f64,
    /// Samples whose class got the highest logit.
    pub num_top1: u32,
    /// Samples whose class is among the five highest logits.
    pub num_top5: u32,
    /// Samples that counted.
    pub num_samples: u32,
    /// To a multiple of eight bytes.
    pub padding: u32,
}

/// What one sample adds to the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SampleLoss {
    /// Its cross-entropy, in nats.
    pub loss: f32,
    /// Classes ranked above its own.
    pub rank: u32,
}

/// Local response normalisation, as kernels take it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct Lrn {
    pub k: f32,
    pub alpha: f32,
    pub beta: f32,
    pub n: i32,
}

impl From<model::Lrn> for Lrn {
    fn from(lrn: model::Lrn) -> Self {
        Self { k: lrn.k, alpha: lrn.alpha, beta: lrn.beta, n: super::int(lrn.n) }
    }
}
