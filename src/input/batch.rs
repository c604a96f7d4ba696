//! A host batch: what the augmenter fills and a backend uploads.

use half::f16;

/// The type of a batch's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// For the CPU.
    F32,
    /// For CUDA: exact for whole numbers to 2048, so within 2^-11 of a relit value, and half the bytes.
    F16,
}

impl Dtype {
    /// `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// (N, 3, canvas, canvas), mean subtracted, on the 0-255 scale times `augment.scale`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// For the CPU.
    F32(Vec<f32>),
    /// For CUDA.
    F16(Vec<f16>),
}

/// The samples of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Its place in the plan: training steps count from 0.
    pub step: u64,
    /// The epoch it belongs to.
    pub epoch: u32,
    /// The first so many samples are real; the last batch of an evaluation may be short.
    pub num_valid: usize,
    /// (N, 3, canvas, canvas).
    pub values: Values,
    /// (N) classes.
    pub labels: Vec<u32>,
}

impl Batch {
    /// Room for `num_samples` inputs of `sample_values` values, all zero.
    pub fn zeros(dtype: Dtype, num_samples: usize, sample_values: usize) -> Self {
        let values = match dtype {
            Dtype::F32 => Values::F32(vec![0.0; num_samples * sample_values]),
            Dtype::F16 => Values::F16(vec![f16::ZERO; num_samples * sample_values]),
        };
        Self { step: 0, epoch: 0, num_valid: 0, values, labels: vec![0; num_samples] }
    }

    /// Samples it has room for.
    pub fn num_samples(&self) -> usize {
        self.labels.len()
    }

    /// Bytes of the values.
    pub fn num_bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => size_of_val(values.as_slice()),
            Values::F16(values) => size_of_val(values.as_slice()),
        }
    }
}
