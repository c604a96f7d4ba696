//! Views that show a part of another size than the crop: bilinear interpolation, in plain Rust on every processor.

use super::rows::Value;
use crate::input::view::{Frame, Mirror, View};
use crate::shard::SIDE;

/// Where along a side a value of the crop lies: between two pixels of the part, so far from the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    first: usize,
    second: usize,
    share: f32,
}

/// Writes the part of `size` (height, width) as the crop, and zeros around it.
///
/// The centre of the crop's pixel i lies at (i + 0.5) * side / crop - 0.5 of the part's, as in PyTorch's interpolate
/// without align_corners. Parts are not smoothed before: they are at most 256 / crop times as large as the crop.
pub(super) fn write<V: Value>(
    bytes: &[u8],
    mean: &[u8],
    view: &View,
    size: (usize, usize),
    frame: Frame,
    out: &mut [V],
) {
    let rows = places(view.top, size.0, frame.crop);
    let mut columns = places(view.left, size.1, frame.crop);
    if view.mirror == Mirror::Yes {
        columns[..frame.crop].reverse();
    }
    for (channel, plane) in out.chunks_exact_mut(frame.canvas * frame.canvas).enumerate() {
        let residual = |y: usize, x: usize| {
            let at = (channel * SIDE + y) * SIDE + x;
            f32::from(i16::from(bytes[at].wrapping_add(mean[at])) - i16::from(mean[at]))
        };
        let (inside, below) = plane.split_at_mut(frame.crop * frame.canvas);
        for (out_row, row) in inside.chunks_exact_mut(frame.canvas).zip(&rows) {
            let (inside, right) = out_row.split_at_mut(frame.crop);
            for (out, column) in inside.iter_mut().zip(&columns) {
                let across = |y| between(residual(y, column.first), residual(y, column.second), column.share);
                let value = between(across(row.first), across(row.second), row.share);
                *out = V::round((value + view.light[channel]) * frame.scale);
            }
            right.fill(V::ZERO);
        }
        below.fill(V::ZERO);
    }
}

fn places(start: usize, side: usize, crop: usize) -> [Place; SIDE] {
    let mut places = [Place::default(); SIDE];
    for (index, place) in places[..crop].iter_mut().enumerate() {
        let at = ((index as f32 + 0.5) * side as f32 / crop as f32 - 0.5).clamp(0.0, (side - 1) as f32);
        let first = at as usize;
        *place = Place { first: start + first, second: start + (first + 1).min(side - 1), share: at - first as f32 };
    }
    places
}

fn between(first: f32, second: f32, share: f32) -> f32 {
    first + (second - first) * share
}
