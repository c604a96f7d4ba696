//! The augmenter: writes one view of a sample as the network's input.
//!
//! `out[c][y][x] = (((byte + mean) mod 256) - mean + light[c]) * scale` inside the crop, 0 to the right of it and
//! below. The mean is taken at the crop's own position. All versions round after the sum and after the product, and
//! once more to f16, so they agree bit for bit.

mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_vectors.rs"]
mod vector;

use bytemuck::Pod;
use half::f16;

use self::vector::{Avx2, Avx512, Vector};
use super::batch::Dtype;
use super::view::{Frame, Mirror, View};
use crate::shard::format::PAGE_BYTES;
use crate::shard::{CHANNELS, SAMPLE_BYTES, SIDE};

/// A type in which a batch can hold its values: f32 or f16.
pub trait Value: Pod + Send + Sync {
    /// The type's name at run time.
    const DTYPE: Dtype;
    /// Zero, which is what the mean image becomes.
    const ZERO: Self;
    /// Rounds to the nearest value, ties to even.
    fn round(value: f32) -> Self;
}

impl Value for f32 {
    const DTYPE: Dtype = Dtype::F32;
    const ZERO: Self = 0.0;
    fn round(value: f32) -> Self {
        value
    }
}

impl Value for f16 {
    const DTYPE: Dtype = Dtype::F16;
    const ZERO: Self = f16::ZERO;
    fn round(value: f32) -> Self {
        f16::from_f32(value)
    }
}

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
        let last = frame.last_position();
        assert!(view.top <= last && view.left <= last, "{view:?} reaches out of the sample: {frame:?}");
        match self.0 {
            Instructions::Scalar => write_rows(bytes, mean, view, frame, out, scalar::write_row),
            Instructions::Avx2 => vector::write::<Avx2, V>(bytes, mean, view, frame, out),
            Instructions::Avx512 => vector::write::<Avx512, V>(bytes, mean, view, frame, out),
        }
    }
}

/// How far ahead of the row being written a row of the sample is prefetched: a page, since the processor's own
/// read-ahead stops at the end of each page.
const ROWS_AHEAD: usize = PAGE_BYTES / SIDE;

/// A row of the crop, as every version is given it.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// (crop) bytes of the sample.
    bytes: &'a [u8],
    /// (crop) bytes of the mean image.
    mean: &'a [u8],
    /// The row of the sample that is read [`ROWS_AHEAD`] rows later, or one of the last.
    ahead: &'a [u8],
    mirror: Mirror,
    light: f32,
    scale: f32,
}

/// Walks over the input's rows: `write_row` fills the crop's part, and the rest becomes zero.
#[inline(always)]
fn write_rows<V: Value>(
    bytes: &[u8],
    mean: &[u8],
    view: &View,
    frame: Frame,
    out: &mut [V],
    write_row: impl Fn(Row<'_>, &mut [V]),
) {
    let start_of = |channel: usize, y: usize| (channel * SIDE + view.top + y) * SIDE + view.left;
    for (channel, plane) in out.chunks_exact_mut(frame.canvas * frame.canvas).enumerate() {
        let (inside, below) = plane.split_at_mut(frame.crop * frame.canvas);
        for (y, out_row) in inside.chunks_exact_mut(frame.canvas).enumerate() {
            let start = start_of(channel, y);
            // The row after a channel's last is the next channel's first.
            let ahead = match y + ROWS_AHEAD {
                y if y < frame.crop => start_of(channel, y),
                y if channel + 1 < CHANNELS => start_of(channel + 1, (y - frame.crop).min(frame.crop - 1)),
                _ => start,
            };
            let row = Row {
                bytes: &bytes[start..][..frame.crop],
                mean: &mean[start..][..frame.crop],
                ahead: &bytes[ahead..][..frame.crop],
                mirror: view.mirror,
                light: view.light[channel],
                scale: frame.scale,
            };
            let (inside, right) = out_row.split_at_mut(frame.crop);
            write_row(row, inside);
            // The paper's crop leaves three columns; writing them in place saves a call per row.
            match right {
                [first, second, third] => (*first, *second, *third) = (V::ZERO, V::ZERO, V::ZERO),
                right => right.fill(V::ZERO),
            }
        }
        below.fill(V::ZERO);
    }
}
