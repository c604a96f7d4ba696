//! The augmenter: writes one view of a sample as the network's input.
//!
//! `out[c][y][x] = (((byte + mean) mod 256) - mean + light[c]) * scale` inside the crop, 0 to the right of it and
//! below. The mean is taken at the crop's own position. Of a part that is resized, ((byte + mean) mod 256) - mean is
//! interpolated. All versions round after the sum and after the product, and once more to f16, so they agree bit for
//! bit.

mod resized;
mod rows;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_vectors.rs"]
mod vector;

pub use self::rows::Value;
use self::rows::write_rows;
use self::vector::{Avx2, Avx512, Vector};
use super::view::{Cut, Frame, View};
use crate::shard::{SAMPLE_BYTES, SIDE};

/// A version of the augmenter, which exists only where the processor can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augmenter(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Scalar,
    Avx2,
    Avx512,
}

impl Augmenter {
    /// The fastest version that this processor can run.
    pub fn fastest() -> Self {
        Self::avx512().or(Self::avx2()).unwrap_or(Self::scalar())
    }

    /// Plain Rust, which runs everywhere and is the specification of the others.
    pub fn scalar() -> Self {
        Self(Instructions::Scalar)
    }

    /// The version with AVX2 and F16C, if the processor has both.
    pub fn avx2() -> Option<Self> {
        Avx2::is_supported().then_some(Self(Instructions::Avx2))
    }

    /// The version with AVX-512 F and BW, if the processor has both.
    pub fn avx512() -> Option<Self> {
        Avx512::is_supported().then_some(Self(Instructions::Avx512))
    }

    /// `scalar`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Instructions::Scalar => "scalar",
            Instructions::Avx2 => "avx2",
            Instructions::Avx512 => "avx512",
        }
    }

    /// Writes a view of the sample `bytes`, (3, 256, 256), with the `mean` image of the same shape subtracted, to all
    /// of `out`, (3, canvas, canvas): each value once, in order.
    pub fn write<V: Value>(self, bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
        assert_eq!(bytes.len(), SAMPLE_BYTES, "bytes of a sample");
        assert_eq!(mean.len(), SAMPLE_BYTES, "bytes of a mean image");
        assert_eq!(out.len(), frame.num_values(), "values of an input");
        assert!(frame.crop <= SIDE && frame.crop <= frame.canvas, "{frame:?}");
        let (height, width) = match view.cut {
            Cut::AsCrop => (frame.crop, frame.crop),
            Cut::Resized { height, width } => (height, width),
        };
        let inside = view.top + height <= SIDE && view.left + width <= SIDE;
        assert!(inside, "{view:?} reaches out of the sample: {frame:?}");
        if view.cut != Cut::AsCrop {
            return resized::write(bytes, mean, view, (height, width), frame, out);
        }
        match self.0 {
            Instructions::Scalar => write_rows(bytes, mean, view, frame, out, scalar::write_row),
            Instructions::Avx2 => vector::write::<Avx2, V>(bytes, mean, view, frame, out),
            Instructions::Avx512 => vector::write::<Avx512, V>(bytes, mean, view, frame, out),
        }
    }
}
