//! Convolution as products of matrices, an image and a group of channels at a time. With `columns` (taps, positions) as
//! [`super::unfold`] makes them of the image:
//!
//! ```text
//! forward             output (group_out, positions) = weights (group_out, taps) * columns
//! input_gradient      gradient of columns = weights transposed * gradient (group_out, positions), then folded back
//! weight_gradient     gradient of weights += gradient * columns transposed, summed over images
//! ```
//!
//! (`naive` in the tests below is the forward pass as seven loops.) The columns are cut into tiles, some rows of
//! positions, and blocks, the taps of some input channels, so that what a product reads again stays in the second-level
//! cache; forward, a panel of a block's columns stays in the first:
//!
//! ```text
//! for each tile, for each block, for each panel of RIGHT positions in the tile:
//!     unfold the panel: (taps of the block, RIGHT)
//!     output (group_out, RIGHT positions) += weights (group_out, taps of the block) * the panel
//! ```

mod weight_gradient;

use std::ops::Range;

use rayon::prelude::*;

use super::panels::{LEFT, Panels, RIGHT, pack_columns, pack_rows, panels_values};
use super::product::{Destination, Onto, multiply_panels};
use super::real::Real;
use super::unfold::Unfold;
use super::wide::wide;
use crate::model::ConvBlock;

/// Taps in a block, about: deep enough for the product's inner loop.
const BLOCK_DEPTH: usize = 400;
/// Values of a tile's columns, about: 384 KiB of f32, of which folding has all at a time in a second-level cache of 1
/// MiB.
const TILE_VALUES: usize = 96 * 1024;
/// A convolution's shape and how it is cut; nothing here depends on the number of threads.
pub struct Convolution {
    groups: usize,
    /// Input channels of a group.
    group_in: usize,
    /// Output channels of a group.
    group_out: usize,
    unfold: Unfold,
    /// Input channels of a block.
    block_channels: usize,
    /// Rows of the output of a tile.
    tile_rows: usize,
}

impl Convolution {
    pub fn new(block: &ConvBlock) -> Self {
        let (group_in, group_out) = (block.in_channels / block.groups, block.out_channels / block.groups);
        let area = block.kernel * block.kernel;
        let block_channels = even_share(group_in, (BLOCK_DEPTH / area).max(1));
        let tile_rows = (TILE_VALUES / (block_channels * area * block.conv_side)).max(1);
        Self {
            groups: block.groups,
            group_in,
            group_out,
            unfold: Unfold::new(block),
            block_channels,
            tile_rows: even_share(block.conv_side, tile_rows),
        }
    }

    /// Taps of an output channel's filter, (group_in, H, W).
    fn depth(&self) -> usize {
        self.group_in * self.area()
    }

    /// Taps of an input channel, (H, W).
    fn area(&self) -> usize {
        self.unfold.kernel * self.unfold.kernel
    }

    /// Values of one channel of the output.
    fn positions(&self) -> usize {
        self.unfold.out_side * self.unfold.out_side
    }

    /// Values of one image's output.
    pub fn output_values(&self) -> usize {
        self.groups * self.group_out * self.positions()
    }

    pub fn input_values(&self) -> usize {
        self.groups * self.group_in * self.unfold.in_side * self.unfold.in_side
    }

    /// Values of scratch that a thread needs: a group's arranged channels, columns, and a tile of the output's
    /// gradient.
    pub fn scratch_values(&self) -> usize {
        let packed = self.group_out.next_multiple_of(LEFT) * self.tile_width();
        self.arranged_values() + self.columns_values() + packed
    }

    /// Values of a group's arranged channels, and of what is read behind them.
    fn arranged_values(&self) -> usize {
        self.group_in * self.unfold.arranged_values() + RIGHT
    }

    /// Values of a tile of a block's columns, or of a panel of them and what is written behind it.
    fn columns_values(&self) -> usize {
        (self.block_channels * self.area()).next_multiple_of(RIGHT) * self.tile_width() + RIGHT
    }

    /// Positions of a tile, in whole panels.
    fn tile_width(&self) -> usize {
        (self.tile_rows * self.unfold.out_side).next_multiple_of(RIGHT)
    }

    /// Values of the buffer for packed weights.
    pub fn packed_values(&self) -> usize {
        let forward = panels_values::<LEFT>(self.group_out, self.depth());
        let backward = self.num_blocks() * self.packed_block_values();
        self.groups * forward.max(backward)
    }

    /// Values of one block's weights as [`Convolution::pack_backward`] packs them.
    fn packed_block_values(&self) -> usize {
        panels_values::<LEFT>(self.block_channels * self.area(), self.group_out)
    }

    fn num_blocks(&self) -> usize {
        self.group_in.div_ceil(self.block_channels)
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        ranges(0..self.group_in, self.block_channels)
    }

    fn tiles(&self) -> impl Iterator<Item = Range<usize>> {
        ranges(0..self.unfold.out_side, self.tile_rows)
    }

    /// Some channels of one group of an image's input.
    fn channels(&self, group: usize, block: &Range<usize>) -> Range<usize> {
        let channel = self.unfold.in_side * self.unfold.in_side;
        let first = group * self.group_in;
        (first + block.start) * channel..(first + block.end) * channel
    }

    /// Where some rows of a group's part of an image's output begin: (group_out, rows, out_side), each channel's rows
    /// [`Convolution::positions`] behind the last one's.
    fn tile_start(&self, group: usize, rows: &Range<usize>) -> usize {
        group * self.group_out * self.positions() + rows.start * self.unfold.out_side
    }

    /// Packs weights (out_channels, group_in, H, W) for [`Convolution::forward`].
    pub fn pack_forward<T: Real>(&self, weights: &[T], packed: &mut [T]) {
        let group_values = panels_values::<LEFT>(self.group_out, self.depth());
        let panels_of_group = group_values / (LEFT * self.depth());
        let panels = packed[..self.groups * group_values].par_chunks_exact_mut(LEFT * self.depth());
        panels.enumerate().for_each(|(index, panel)| {
            let (group, row) = (index / panels_of_group, index % panels_of_group * LEFT);
            let rows = &weights[(group * self.group_out + row) * self.depth()..];
            let (panel, _) = panel.as_chunks_mut::<LEFT>();
            wide!(pack_rows(rows, self.group_out - row, self.depth(), panel));
        });
    }

    /// Packs weights (out_channels, group_in, H, W), transposed, for [`Convolution::input_gradient`].
    pub fn pack_backward<T: Real>(&self, weights: &[T], packed: &mut [T]) {
        let panels_of_block = self.packed_block_values() / (LEFT * self.group_out);
        let num_panels = self.groups * self.num_blocks() * panels_of_block;
        let panels = packed[..num_panels * LEFT * self.group_out].par_chunks_exact_mut(LEFT * self.group_out);
        panels.enumerate().for_each(|(index, panel)| {
            let (group, index) =
                (index / panels_of_block / self.num_blocks(), index % (panels_of_block * self.num_blocks()));
            let (block, first) = (index / panels_of_block, index % panels_of_block * LEFT);
            let column = block * self.block_channels * self.area() + first;
            let end = ((block + 1) * self.block_channels).min(self.group_in) * self.area();
            // The last block may be smaller than the others.
            if column < end {
                let columns = &weights[group * self.group_out * self.depth() + column..];
                let (panel, _) = panel.as_chunks_mut::<LEFT>();
                wide!(pack_columns(columns, end - column, self.depth(), panel));
            }
        });
    }

    /// One image (in_channels, in_side, in_side) to (out_channels, conv_side, conv_side), without the bias.
    pub fn forward<T: Real>(&self, image: &[T], packed_weights: &[T], output: &mut [T], scratch: &mut [T]) {
        let arranged_values = self.unfold.arranged_values();
        let (arranged, scratch) = scratch.split_at_mut(self.arranged_values());
        let columns = &mut scratch[..self.columns_values()];
        let group_values = panels_values::<LEFT>(self.group_out, self.depth());
        for group in 0..self.groups {
            wide!(self.unfold.arrange(&image[self.channels(group, &(0..self.group_in))], arranged));
            let weights = Panels::new(&packed_weights[group * group_values..], self.group_out, self.depth());
            for rows in self.tiles() {
                let positions = rows.start * self.unfold.out_side..rows.end * self.unfold.out_side;
                for (index, block) in self.blocks().enumerate() {
                    let depth = block.len() * self.area();
                    let channels = &arranged[block.start * arranged_values..];
                    let weights = weights.part(block.start * self.area(), block.end * self.area());
                    // Panel by panel, so that the columns stay in the first-level cache.
                    for panel in ranges(positions.clone(), RIGHT) {
                        let num_columns = panel.len();
                        let values = &mut output[group * self.group_out * self.positions() + panel.start..];
                        wide!(self.unfold.unfold_positions::<_, RIGHT>(block.len(), channels, panel.clone(), columns));
                        let columns = Panels::new(columns, RIGHT, depth);
                        let (rows, stride) = (self.group_out, self.positions());
                        let tile = Destination { values, rows, columns: num_columns, stride };
                        multiply_panels(weights, columns, tile, Onto::nothing_at_first(index));
                    }
                }
            }
        }
    }

    /// One image's gradient of the output (out_channels, conv_side, conv_side) to that of its input (in_channels,
    /// in_side, in_side).
    pub fn input_gradient<T: Real>(
        &self,
        gradient: &[T],
        packed_weights: &[T],
        input_gradient: &mut [T],
        scratch: &mut [T],
    ) {
        let arranged_values = self.unfold.arranged_values();
        let (arranged, scratch) = scratch.split_at_mut(self.arranged_values());
        let (columns, packed) = scratch.split_at_mut(self.columns_values());
        for group in 0..self.groups {
            arranged.fill(T::ZERO);
            for rows in self.tiles() {
                let width = rows.len() * self.unfold.out_side;
                let pitch = width.next_multiple_of(RIGHT);
                let packed = &mut packed[..pitch * self.group_out];
                wide!(self.pack_positions(&gradient[self.tile_start(group, &rows)..], width, packed));
                for (index, block) in self.blocks().enumerate() {
                    let depth = block.len() * self.area();
                    let start = (group * self.num_blocks() + index) * self.packed_block_values();
                    let weights = Panels::new(&packed_weights[start..], depth, self.group_out);
                    let tile = Destination { values: &mut *columns, rows: depth, columns: width, stride: pitch };
                    multiply_panels(weights, Panels::new(packed, width, self.group_out), tile, Onto::Nothing);
                    let arranged = &mut arranged[block.start * arranged_values..block.end * arranged_values];
                    wide!(self.unfold.fold(columns, pitch, rows.clone(), arranged));
                }
            }
            let channels = &mut input_gradient[self.channels(group, &(0..self.group_in))];
            wide!(self.unfold.restore(arranged, channels));
        }
    }

    /// Some rows of a group's gradient (group_out, rows, out_side) to panels of positions.
    #[inline(always)]
    fn pack_positions<T: Real>(&self, gradient: &[T], width: usize, packed: &mut [T]) {
        let panels = packed.chunks_exact_mut(RIGHT * self.group_out);
        for (column, panel) in (0..width).step_by(RIGHT).zip(panels) {
            let (panel, _) = panel.as_chunks_mut::<RIGHT>();
            pack_columns(&gradient[column..], width - column, self.positions(), panel);
        }
    }
}

/// `total` things in equal shares of at most `most`.
fn even_share(total: usize, most: usize) -> usize {
    total.div_ceil(total.div_ceil(most))
}

fn ranges(whole: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    whole.clone().step_by(step).map(move |start| start..(start + step).min(whole.end))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_close, assert_is_gradient, dot, draws};

    pub const NUM_IMAGES: usize = 3;

    /// Four channels to six.
    pub fn block(in_side: usize, kernel: usize, stride: usize, pad: usize, groups: usize) -> ConvBlock {
        let conv_side = (in_side + 2 * pad - kernel) / stride + 1;
        let (in_channels, out_channels) = (4, 6);
        let (out_side, tail) = (conv_side, Vec::new());
        ConvBlock { in_channels, in_side, out_channels, kernel, stride, pad, groups, conv_side, out_side, tail }
    }

    /// A convolution as it is, and cut into blocks of one channel and tiles of one row.
    pub fn cuts(block: &ConvBlock) -> [Convolution; 2] {
        let whole = Convolution::new(block);
        [Convolution { block_channels: 1, tile_rows: 1, ..Convolution::new(block) }, whole]
    }

    pub fn cases() -> [ConvBlock; 6] {
        let [plain, grouped] = [1, 2].map(|groups| block(5, 3, 1, 1, groups));
        // Strides beyond the filter leave pixels out.
        let [single, apart] = [block(8, 1, 2, 0, 1), block(9, 2, 3, 1, 2)];
        [plain, grouped, block(11, 5, 3, 0, 1), block(9, 5, 2, 2, 2), single, apart]
    }

    pub fn forward(convolution: &Convolution, images: &[f64], weights: &[f64]) -> Vec<f64> {
        let mut outputs = vec![f64::NAN; NUM_IMAGES * convolution.output_values()];
        let mut packed = vec![f64::NAN; convolution.packed_values()];
        convolution.pack_forward(weights, &mut packed);
        let mut scratch = vec![f64::NAN; convolution.scratch_values()];
        let images = images.chunks_exact(convolution.input_values());
        for (image, output) in images.zip(outputs.chunks_exact_mut(convolution.output_values())) {
            convolution.forward(image, &packed, output, &mut scratch);
        }
        outputs
    }

    fn naive(block: &ConvBlock, images: &[f64], weights: &[f64]) -> Vec<f64> {
        let ConvBlock { in_side, kernel, conv_side, out_channels, .. } = *block;
        let (group_in, group_out) = (block.in_channels / block.groups, out_channels / block.groups);
        let mut outputs = Vec::new();
        for image in images.chunks(block.in_channels * in_side * in_side) {
            for at in 0..out_channels * conv_side * conv_side {
                let (channel, row, column) = (at / (conv_side * conv_side), at / conv_side % conv_side, at % conv_side);
                let taps = (0..group_in * kernel * kernel).map(|tap| {
                    let (input, y, x) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
                    let place = |out: usize, tap: usize| (out * block.stride + tap).checked_sub(block.pad);
                    let (Some(y), Some(x)) = (place(row, y), place(column, x)) else { return 0.0 };
                    if y >= in_side || x >= in_side {
                        return 0.0;
                    }
                    let input = channel / group_out * group_in + input;
                    image[(input * in_side + y) * in_side + x] * weights[channel * group_in * kernel * kernel + tap]
                });
                outputs.push(taps.sum());
            }
        }
        outputs
    }

    pub fn synthetic(block: &ConvBlock) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let images = NUM_IMAGES * block.in_channels * block.in_side.pow(2);
        let weights = block.out_channels * block.in_channels / block.groups * block.kernel.pow(2);
        let outputs = NUM_IMAGES * block.out_channels * block.conv_side.pow(2);
        (draws(images, 1), draws(weights, 2), draws(outputs, 3))
    }

    #[test]
    fn convolution_agrees_with_seven_loops() {
        for block in cases() {
            let (images, weights, _) = synthetic(&block);
            for convolution in cuts(&block) {
                let outputs = forward(&convolution, &images, &weights);
                assert_close(&format!("{block:?}"), &outputs, &naive(&block, &images, &weights));
            }
        }
    }

    #[test]
    fn input_gradient_agrees_with_central_differences() {
        for block in cases() {
            let (images, weights, gradient) = synthetic(&block);
            for convolution in cuts(&block) {
                let mut backward = vec![f64::NAN; images.len()];
                let mut scratch = vec![f64::NAN; convolution.scratch_values()];
                let mut packed = vec![f64::NAN; convolution.packed_values()];
                convolution.pack_backward(&weights, &mut packed);
                let inputs = backward.chunks_exact_mut(convolution.input_values());
                for (gradient, to) in gradient.chunks_exact(convolution.output_values()).zip(inputs) {
                    convolution.input_gradient(gradient, &packed, to, &mut scratch);
                }
                let loss = |images: &[f64]| dot(&forward(&convolution, images, &weights), &gradient);
                assert_is_gradient(&format!("{block:?}"), &backward, &images, loss);
            }
        }
    }
}
