//! The augmenter in plain Rust: the specification of the vector versions.

use super::rows::{Row, Value};
use crate::input::view::Mirror;

#[inline(always)]
pub(super) fn write_row<V: Value>(row: Row<'_>, out: &mut [V]) {
    let last = row.bytes.len() - 1;
    for (x, out) in out.iter_mut().enumerate() {
        let x = if row.mirror == Mirror::Yes { last - x } else { x };
        *out = value(row.bytes[x], row.mean[x], row.light, row.scale);
    }
}

/// (((byte + mean) mod 256) - mean + light) * scale.
#[inline(always)]
fn value<V: Value>(byte: u8, mean: u8, light: f32, scale: f32) -> V {
    let residual = i16::from(byte.wrapping_add(mean)) - i16::from(mean);
    V::round((f32::from(residual) + light) * scale)
}
