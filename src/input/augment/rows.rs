//! The walk over the rows of a view, which every version of the augmenter shares.

use bytemuck::Pod;
use half::f16;

use crate::input::batch::Dtype;
use crate::input::view::{Frame, Mirror, View};
use crate::shard::format::PAGE_BYTES;
use crate::shard::{CHANNELS, SIDE};

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

/// How far ahead of the row being written a row of the sample is prefetched: a page, since the processor's own
/// read-ahead stops at the end of each page.
const ROWS_AHEAD: usize = PAGE_BYTES / SIDE;

/// A row of the crop, as every version is given it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// (crop) bytes of the sample.
    pub(super) bytes: &'a [u8],
    /// (crop) bytes of the mean image.
    pub(super) mean: &'a [u8],
    /// The row of the sample that is read [`ROWS_AHEAD`] rows later, or one of the last.
    pub(super) ahead: &'a [u8],
    pub(super) mirror: Mirror,
    pub(super) light: f32,
    pub(super) scale: f32,
}

/// Walks over the input's rows: `write_row` fills the crop's part, and the rest becomes zero.
#[inline(always)]
pub(super) fn write_rows<V: Value>(
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
