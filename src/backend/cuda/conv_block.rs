//! A convolutional block: cuDNN's products, and our kernels for all that follows them.

use std::rc::Rc;
use std::sync::Arc;

use super::Real;
use super::convolution::{Convolution, ConvolutionShape, Cudnn};
use super::driver::{Buffer, Context, Slice, SliceMut, Stream};
use super::kernels::{Kernels, TailOrder};
use super::layout::{BLOCK_CHANNELS, BLOCK_KERNEL};
use super::precision::Precision;
use super::tuning::Tuning;
use super::weights::LayerWeights;
use crate::error::Result;
use crate::model::{self, Lrn, Tail};

/// What follows the bias.
#[derive(Debug)]
enum DeviceTail<R> {
    /// ReLU, in place in the block's output.
    Relu,
    /// ReLU, LRN and pooling in some order, from the convolution's output to the block's.
    Pooled {
        order: TailOrder,
        lrn: Lrn,
        /// (N, conv_side, conv_side, C), without the bias; the backward pass leaves its gradient there.
        convolved: Buffer<R>,
        /// Of each pooled value: where in its window it comes from.
        winners: Buffer<u8>,
    },
}

/// A block of one layer.
#[derive(Debug)]
pub struct ConvBlock<R> {
    convolution: Convolution,
    tail: DeviceTail<R>,
    num_samples: usize,
    channels: usize,
    side: usize,
    out_side: usize,
}

/// LRN of a block that has none: it is not looked at.
const NO_LRN: Lrn = Lrn { k: 1.0, n: 1, alpha: 0.0, beta: 1.0 };

impl<R: Real> ConvBlock<R> {
    /// The first block takes its input by space-to-depth, the others as the block before leaves it.
    pub fn new(
        context: &Arc<Context>,
        cudnn: &Rc<Cudnn>,
        block: &model::ConvBlock,
        is_first: bool,
        num_samples: usize,
        precision: Precision,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let shape = if is_first { block_shape(block, num_samples) } else { shape(block, num_samples) };
        let values = |side: usize| num_samples * side * side * block.out_channels;
        let order = match block.tail.as_slice() {
            [Tail::Relu] => None,
            [Tail::Relu, Tail::Lrn(lrn), Tail::Pool(_)] => Some((TailOrder::ReluLrnPool, *lrn)),
            [Tail::Relu, Tail::Pool(_), Tail::Lrn(lrn)] => Some((TailOrder::ReluPoolLrn, *lrn)),
            [Tail::Lrn(lrn), Tail::Pool(_), Tail::Relu] => Some((TailOrder::LrnPoolRelu, *lrn)),
            // Either order gives the same values and the same gradients.
            [Tail::Relu, Tail::Pool(_)] | [Tail::Pool(_), Tail::Relu] => Some((TailOrder::ReluPool, NO_LRN)),
            other => unreachable!("a block's tail of {other:?}"),
        };
        let tail = match order {
            None => DeviceTail::Relu,
            Some((order, lrn)) => DeviceTail::Pooled {
                order,
                lrn,
                convolved: Buffer::zeros(context, "a convolution's output", values(block.conv_side))?,
                winners: Buffer::zeros(context, "pooling's winners", values(block.out_side))?,
            },
        };
        Ok(Self {
            convolution: Convolution::new(cudnn, shape, precision, tuning)?,
            tail,
            num_samples,
            channels: block.out_channels,
            side: block.conv_side,
            out_side: block.out_side,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        match &self.tail {
            DeviceTail::Relu => 0,
            DeviceTail::Pooled { convolved, winners, .. } => convolved.num_bytes() + winners.num_bytes(),
        }
    }

    /// Of the output.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Bytes of working memory that its products need.
    pub fn workspace_bytes(&self) -> usize {
        self.convolution.workspace_bytes()
    }

    /// From the block's input to its output, (N, out_side, out_side, C).
    pub fn forward(
        &mut self,
        kernels: &Kernels<R>,
        stream: &Stream,
        workspace: &mut Buffer<u8>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let (num_samples, channels, side, out_side) = (self.num_samples, self.channels, self.side, self.out_side);
        match &mut self.tail {
            DeviceTail::Relu => {
                self.convolution.forward(workspace, input, weights.weight, output)?;
                let rows = num_samples * side * side;
                kernels.bias_relu_forward(stream, output, weights.bias, rows, channels)
            }
            DeviceTail::Pooled { order, lrn, convolved, winners } => {
                self.convolution.forward(workspace, input, weights.weight, &mut convolved.all_mut())?;
                kernels.conv_tail_forward(
                    stream,
                    convolved.all(),
                    weights.bias,
                    output,
                    &mut winners.all_mut(),
                    num_samples,
                    channels,
                    side,
                    out_side,
                    *order,
                    *lrn,
                )
            }
        }
    }

    /// The gradients of weights and biases, and of the input where it is asked for. The gradient of the output is overwritten.
    pub fn backward(
        &mut self,
        kernels: &Kernels<R>,
        stream: &Stream,
        work: WorkingMemory<'_>,
        weights: &mut LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: Slice<'_, R>,
        output_gradient: &mut SliceMut<'_, R>,
        input_gradient: Option<&mut SliceMut<'_, R>>,
    ) -> Result<()> {
        let (num_samples, channels, side, out_side) = (self.num_samples, self.channels, self.side, self.out_side);
        let WorkingMemory { workspace, bias_partials } = work;
        let mut partials = bias_partials.all_mut();
        let bias_gradient = &mut weights.bias_gradient;
        let gradient = match &mut self.tail {
            DeviceTail::Relu => {
                let rows = num_samples * side * side;
                kernels.bias_relu_backward(
                    stream,
                    output,
                    output_gradient,
                    bias_gradient,
                    &mut partials,
                    rows,
                    channels,
                )?;
                output_gradient.as_slice()
            }
            DeviceTail::Pooled { order, lrn, convolved, winners } => {
                kernels.conv_tail_backward(
                    stream,
                    &mut convolved.all_mut(),
                    weights.bias,
                    output,
                    output_gradient,
                    winners.all(),
                    bias_gradient,
                    &mut partials,
                    num_samples,
                    channels,
                    side,
                    out_side,
                    *order,
                    *lrn,
                )?;
                convolved.all()
            }
        };
        self.convolution.weight_gradient(workspace, input, gradient, &mut weights.weight_gradient)?;
        match input_gradient {
            Some(input_gradient) => {
                self.convolution.input_gradient(workspace, weights.weight, gradient, input_gradient)
            }
            // conv1: what was summed for padded taps is not a gradient of anything.
            None => kernels.mask_taps(stream, &mut weights.weight_gradient, channels),
        }
    }
}

/// What blocks share, one after another.
#[derive(Debug)]
pub struct WorkingMemory<'a> {
    /// Of the products.
    pub workspace: &'a mut Buffer<u8>,
    /// Sums of parts of a bias gradient.
    pub bias_partials: &'a mut Buffer<f32>,
}

fn shape(block: &model::ConvBlock, num_samples: usize) -> ConvolutionShape {
    ConvolutionShape {
        num_samples,
        in_channels: block.in_channels,
        in_side: block.in_side,
        out_channels: block.out_channels,
        out_side: block.conv_side,
        kernel: block.kernel,
        pad: block.pad,
        groups: block.groups,
    }
}

/// A kernel of 11 x 11 with stride 4, on 4 x 4 pixels at a time: one of 3 x 3 with stride 1.
fn block_shape(block: &model::ConvBlock, num_samples: usize) -> ConvolutionShape {
    ConvolutionShape {
        in_channels: BLOCK_CHANNELS,
        in_side: block_side(block),
        kernel: BLOCK_KERNEL,
        ..shape(block, num_samples)
    }
}

/// Height and width of conv1's input in blocks; the last ones may reach over the canvas, where there are zeros.
pub fn block_side(block: &model::ConvBlock) -> usize {
    block.conv_side + BLOCK_KERNEL - 1
}
