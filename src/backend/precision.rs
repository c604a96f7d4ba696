//! In which numbers a device is asked to compute.

use std::str::FromStr;

/// A precision as `--precision` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// The fastest that the device has.
    Auto,
    /// Products of bfloat16 factors, summed in f32.
    Bf16,
    /// Products of TF32 factors, summed in f32.
    Tf32,
    /// Single precision throughout.
    F32,
}

impl FromStr for PrecisionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "bf16" => Ok(Self::Bf16),
            "tf32" => Ok(Self::Tf32),
            "f32" => Ok(Self::F32),
            _ => Err("expected auto, bf16, tf32 or f32".into()),
        }
    }
}
