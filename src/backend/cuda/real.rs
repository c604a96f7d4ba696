//! The type of activations, working weights and gradients on the device.

use bytemuck::Pod;
use half::bf16;

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::bf16 {}
    impl Sealed for f32 {}
}

/// bf16 or f32; sums are in f32 either way.
pub trait Real: Pod + Send + sealed::Sealed {
    /// What kernels are compiled with.
    const DEFINITION: &'static str;
    /// Whether the master weights serve as the working weights.
    const IS_MASTER: bool;
    /// Rounded to the nearest, ties to even.
    fn from_f32(value: f32) -> Self;
    /// Widens without rounding.
    fn to_f32(self) -> f32;
}

impl Real for bf16 {
    const DEFINITION: &'static str = "REAL_BF16";
    const IS_MASTER: bool = false;

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

impl Real for f32 {
    const DEFINITION: &'static str = "REAL_F32";
    const IS_MASTER: bool = true;

    fn from_f32(value: f32) -> Self {
        value
    }

    fn to_f32(self) -> f32 {
        self
    }
}
