//! In which numbers the products are computed.

use crate::backend::cuda::driver::Capability;
use crate::backend::precision::PrecisionChoice;
use crate::error::{Error, Result};

/// Of the products; sums are in f32 always, and so are the master weights and the velocities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Factors and activations in bfloat16.
    Bf16,
    /// Factors rounded to TF32, everything else f32.
    Tf32,
    /// f32 throughout: the slowest, and the nearest to the CPU.
    F32,
}

/// The first architecture with bfloat16 and TF32: the A100's.
const OLDEST: Capability = Capability { major: 8, minor: 0 };

impl Precision {
    /// What was asked for on a card of that capability.
    pub fn choose(choice: PrecisionChoice, capability: Capability) -> Result<Self> {
        if capability < OLDEST {
            return Err(Error::Device(format!(
                "the GPU's architecture is sm_{}{}, expected sm_80 (Ampere) or newer; train with --device cpu",
                capability.major, capability.minor
            )));
        }
        Ok(match choice {
            PrecisionChoice::Auto | PrecisionChoice::Bf16 => Self::Bf16,
            PrecisionChoice::Tf32 => Self::Tf32,
            PrecisionChoice::F32 => Self::F32,
        })
    }

    /// `bf16`, `tf32` or `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Tf32 => "tf32",
            Self::F32 => "f32",
        }
    }
}
