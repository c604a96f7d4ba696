//! The gradient of a convolution's weights: gradient (group_out, positions) * columns transposed (positions, taps),
//! summed over the images of a batch.
//!
//! The idea is to cut the sum into shares by shape alone, each of which a task gathers in memory of its own, and to add
//! those in a fixed order: every thread is busy, without atomics, and the result does not depend on their number.
//!
//! ```text
//! for each share (part of the batch, group, block of input channels), in parallel:
//!     for each image of the part:
//!         pixels = the block's channels of the image, side by side
//!         for each tile of positions:
//!             packed = the tile of the gradient, panels of LEFT output channels: (positions, LEFT) each
//!             for each panel of RIGHT taps, in the order (y, x, channel):
//!                 columns = the tile of pixels under those taps: (positions, RIGHT)
//!                 share (group_out, taps of the block) += packed transposed * columns
//! for each output channel, in parallel:
//!     weights = the sum of the parts' shares, in order, turned from (y, x, channel) to (channel, y, x)
//! ```
//!
//! Neither factor is ever transposed as a whole: each is packed in the order in which the product reads it.

use std::ops::Range;

use rayon::prelude::*;

use super::{Convolution, ranges};
use crate::backend::cpu::panels::{LEFT, Panels, RIGHT, pack_rows};
use crate::backend::cpu::product::{Destination, Onto, multiply_panels};
use crate::backend::cpu::real::Real;
use crate::backend::cpu::wide::wide;
use crate::backend::cpu::workers::Workers;

/// The weight gradient is cut into about so many shares, whatever the threads.
const NUM_TASKS: usize = 32;

struct Share {
    images: Range<usize>,
    group: usize,
    block: Range<usize>,
}

impl Convolution {
    /// Values of the buffer in which [`Convolution::weight_gradient`] gathers its shares.
    pub fn shares_values(&self) -> usize {
        self.num_parts() * self.groups * self.num_blocks() * self.share_values()
    }

    fn share_values(&self) -> usize {
        self.group_out * self.block_channels * self.area()
    }

    /// Parts into which the batch is cut.
    fn num_parts(&self) -> usize {
        NUM_TASKS.div_ceil(self.groups * self.num_blocks()).min(16)
    }

    /// weight_gradient (out_channels, group_in, H, W) from input (N, in_channels, in_side, in_side) and gradient (N,
    /// out_channels, conv_side, conv_side).
    pub fn weight_gradient<T: Real>(
        &self,
        workers: &Workers<T>,
        input: &[T],
        gradient: &[T],
        shares: &mut [T],
        weight_gradient: &mut [T],
    ) {
        let num_images = gradient.len() / self.output_values();
        let shares = &mut shares[..self.shares_values()];
        shares.par_chunks_exact_mut(self.share_values()).enumerate().with_max_len(1).for_each(|(index, values)| {
            let share = self.share(index, num_images);
            self.gather_share(&share, input, gradient, values, &mut workers.scratch());
        });
        let shares = &*shares;
        let channels = weight_gradient.par_chunks_exact_mut(self.depth()).enumerate();
        channels.for_each(|(channel, weights)| wide!(self.add_shares(channel, shares, weights)));
    }

    /// Share `index` of (part, group, block).
    fn share(&self, index: usize, num_images: usize) -> Share {
        let (rest, block) = (index / self.num_blocks(), index % self.num_blocks());
        let (part, group) = (rest / self.groups, rest % self.groups);
        let start = block * self.block_channels;
        let cut = |part: usize| part * num_images / self.num_parts();
        Share {
            images: cut(part)..cut(part + 1),
            group,
            block: start..(start + self.block_channels).min(self.group_in),
        }
    }

    /// values (group_out, H, W, channels of the block): the sum over the share's images.
    fn gather_share<T: Real>(&self, share: &Share, input: &[T], gradient: &[T], values: &mut [T], scratch: &mut [T]) {
        let num_channels = share.block.len();
        let (depth, channels) = (num_channels * self.area(), self.channels(share.group, &share.block));
        let (pixels, scratch) = scratch.split_at_mut(self.arranged_values());
        let (columns, packed) = scratch.split_at_mut(self.columns_values());
        if share.images.is_empty() {
            values.fill(T::ZERO);
        }
        let mut index = 0;
        for image in share.images.clone() {
            let input = &input[image * self.input_values()..][..self.input_values()];
            let gradient = &gradient[image * self.output_values()..][..self.output_values()];
            wide!(self.unfold.arrange_pixels(num_channels, &input[channels.clone()], pixels));
            for rows in self.tiles() {
                let width = rows.len() * self.unfold.out_side;
                let gradient = &gradient[self.tile_start(share.group, &rows)..];
                wide!(self.pack_channels(gradient, width, packed));
                let gradient = Panels::new(packed, self.group_out, width);
                for taps in ranges(0..depth, RIGHT) {
                    let (tile, panel) = (rows.clone(), taps.clone());
                    wide!(self.unfold.unfold_taps::<_, RIGHT>(num_channels, pixels, tile, panel, columns));
                    let values = &mut values[taps.start..];
                    let sum = Destination { values, rows: self.group_out, columns: taps.len(), stride: depth };
                    multiply_panels(gradient, Panels::new(columns, RIGHT, width), sum, Onto::nothing_at_first(index));
                }
                index += 1;
            }
        }
    }

    /// Some rows of a group's gradient (group_out, rows, out_side) to panels of channels.
    #[inline(always)]
    fn pack_channels<T: Real>(&self, gradient: &[T], width: usize, packed: &mut [T]) {
        let panels = packed.chunks_exact_mut(LEFT * width);
        for (channel, panel) in (0..self.group_out).step_by(LEFT).zip(panels) {
            let (panel, _) = panel.as_chunks_mut::<LEFT>();
            pack_rows(&gradient[channel * self.positions()..], self.group_out - channel, self.positions(), panel);
        }
    }

    /// weights (group_in, H, W) of one output channel: the sum of the parts' shares.
    #[inline(always)]
    fn add_shares<T: Real>(&self, out_channel: usize, shares: &[T], weights: &mut [T]) {
        let (group, row) = (out_channel / self.group_out, out_channel % self.group_out);
        for (index, weights) in weights.chunks_mut(self.block_channels * self.area()).enumerate() {
            let (depth, num_channels) = (weights.len(), weights.len() / self.area());
            weights.fill(T::ZERO);
            for part in 0..self.num_parts() {
                let share = (part * self.groups + group) * self.num_blocks() + index;
                let values = &shares[share * self.share_values() + row * depth..][..depth];
                for (tap, values) in values.chunks_exact(num_channels).enumerate() {
                    for (weight, value) in weights[tap..].iter_mut().step_by(self.area()).zip(values) {
                        *weight += *value;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::convolution::tests::{cases, cuts, forward, synthetic};
    use crate::backend::cpu::testing::{assert_is_gradient, dot};

    #[test]
    fn weight_gradient_agrees_with_central_differences() {
        for block in cases() {
            let (images, weights, gradient) = synthetic(&block);
            for convolution in cuts(&block) {
                let workers = Workers::new(None, convolution.scratch_values(), f64::NAN);
                let mut shares = vec![f64::NAN; convolution.shares_values()];
                let mut backward = vec![f64::NAN; weights.len()];
                workers.pool().install(|| {
                    convolution.weight_gradient(&workers, &images, &gradient, &mut shares, &mut backward);
                });
                let loss = |weights: &[f64]| dot(&forward(&convolution, &images, weights), &gradient);
                assert_is_gradient(&format!("{block:?}"), &backward, &weights, loss);
            }
        }
    }
}
