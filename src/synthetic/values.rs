//! Synthetic values: normal draws, and uniform bytes.

use crate::philox::{Purpose, normal_pair, words};

/// Draws of N(0, 1), without end; others for each `stream`.
pub(crate) fn normal(seed: u64, stream: u32) -> impl Iterator<Item = f32> {
    (0..).flat_map(move |pair| {
        let bits = words(seed, Purpose::Synthetic, [pair, stream, 0]);
        normal_pair(bits[0], bits[1])
    })
}

/// Uniform bytes, without end; others for each pair of `streams`.
pub(crate) fn bytes(seed: u64, streams: [u32; 2]) -> impl Iterator<Item = u8> {
    let [first, second] = streams;
    (0..).flat_map(move |quad| words(seed, Purpose::Synthetic, [quad, first, second])).flat_map(u32::to_le_bytes)
}
