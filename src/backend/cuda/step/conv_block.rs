//! A convolutional block: cuDNN's products, and our kernels for all that follows them.

use std::rc::Rc;
use std::sync::Arc;

use super::input::InputForm;
use super::lane::Lane;
use super::weights::LayerWeights;
use crate::backend::cuda::driver::{Buffer, Context, Slice, SliceMut};
use crate::backend::cuda::kernels::{ConvTail, num_bias_partials};
use crate::backend::cuda::libraries::convolution::{Convolution, ConvolutionShape, Cudnn};
use crate::backend::cuda::libraries::precision::Precision;
use crate::backend::cuda::libraries::tuning::Tuning;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model;

/// What follows the bias.
#[derive(Debug)]
enum DeviceTail<R> {
    /// ReLU: by cuDNN, with the convolution and the bias, or in place in the block's output.
    Relu { is_fused: bool },
    /// ReLU, LRN and pooling in some order, from the convolution's output to the block's.
    Pooled {
        tail: ConvTail,
        /// (N, conv_side, conv_side, C), without the bias; the backward pass leaves its gradient there.
        convolved: Buffer<R>,
        /// Of each pooled value: where in its window it comes from.
        argmax: Buffer<u8>,
    },
}

/// A block of one layer.
#[derive(Debug)]
pub struct ConvBlock<R> {
    convolution: Convolution,
    /// The filters' size before space-to-depth.
    blocked_kernel: Option<usize>,
    tail: DeviceTail<R>,
    /// Sums of parts of the bias gradient, (parts, channels).
    bias_partials: Buffer<f32>,
    num_samples: usize,
    /// Pixels of the convolution's output, in all samples.
    rows: usize,
    channels: usize,
}

impl<R: Real> ConvBlock<R> {
    /// The first block takes its input in a form of its own, the others as the block before leaves it. Weight gradients
    /// go by way of `for_weights`, everything else by `cudnn`.
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    pub fn new(
        context: &Arc<Context>,
        cudnn: &Rc<Cudnn>,
        for_weights: &Rc<Cudnn>,
        block: &model::ConvBlock,
        input: Option<InputForm>,
        num_samples: usize,
        precision: Precision,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let shape = input.map_or_else(|| shape(block, num_samples), |form| form.shape(block, num_samples));
        let values = |side: usize| num_samples * side * side * block.out_channels;
        let rows = num_samples * block.conv_side * block.conv_side;
        let (tail, num_partials) = match ConvTail::new(block).expect("the network was checked") {
            None => (DeviceTail::Relu { is_fused: true }, num_bias_partials(rows, block.out_channels)),
            Some(tail) => {
                let convolved = Buffer::zeros(context, "a convolution's output", values(block.conv_side))?;
                let argmax = Buffer::zeros(context, "pooling's argmax", values(block.out_side))?;
                (DeviceTail::Pooled { tail, convolved, argmax }, tail.num_partials(num_samples))
            }
        };
        Ok(Self {
            convolution: Convolution::new(cudnn, for_weights, shape, precision, tuning)?,
            blocked_kernel: (input == Some(InputForm::SpaceToDepth)).then_some(block.kernel),
            tail,
            bias_partials: Buffer::zeros(context, "bias gradients", num_partials * block.out_channels)?,
            num_samples,
            rows,
            channels: block.out_channels,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        let tail = match &self.tail {
            DeviceTail::Relu { .. } => 0,
            DeviceTail::Pooled { convolved, argmax, .. } => convolved.num_bytes() + argmax.num_bytes(),
        };
        tail + self.bias_partials.num_bytes()
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Bytes of working memory that its products need: that for the weight gradient, and the others.
    pub fn workspace_bytes(&self) -> [usize; 2] {
        self.convolution.workspace_bytes()
    }

    /// From the block's input to its output, (N, out_side, out_side, C).
    pub fn forward(
        &mut self,
        lane: Lane<'_, R>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let Lane { kernels, stream, products } = lane;
        match &mut self.tail {
            DeviceTail::Relu { is_fused } => {
                let (weight, bias) = (weights.weight, weights.bias);
                if *is_fused {
                    match self.convolution.forward_bias_relu(products, input, weight, bias, output) {
                        Ok(()) => return Ok(()),
                        Err(error) => {
                            crate::tell!("warning: {error}; convolution, bias and ReLU are computed one by one");
                            *is_fused = false;
                        }
                    }
                }
                self.convolution.forward(products, input, weight, output)?;
                kernels.bias_relu_forward(stream, output, bias, self.rows, self.channels)
            }
            DeviceTail::Pooled { tail, convolved, argmax } => {
                self.convolution.forward(products, input, weights.weight, &mut convolved.all_mut())?;
                let (convolved, argmax) = (convolved.all(), &mut argmax.all_mut());
                kernels.conv_tail_forward(stream, convolved, weights.bias, output, argmax, self.num_samples, tail)
            }
        }
    }

    /// From the gradient of the block's output, which is overwritten, to that of the convolution's and parts of the
    /// bias's.
    pub fn tail_backward(
        &mut self,
        lane: Lane<'_, R>,
        weights: &LayerWeights<'_, R>,
        output: Slice<'_, R>,
        output_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let (Lane { kernels, stream, .. }, partials) = (lane, &mut self.bias_partials.all_mut());
        match &mut self.tail {
            DeviceTail::Relu { .. } => {
                kernels.bias_relu_backward(stream, output, output_gradient, partials, self.rows, self.channels)
            }
            DeviceTail::Pooled { tail, convolved, argmax } => kernels.conv_tail_backward(
                stream,
                &mut convolved.all_mut(),
                weights.bias,
                output_gradient,
                argmax.all(),
                partials,
                self.num_samples,
                tail,
            ),
        }
    }

    /// The gradients of weights and biases, from what [`Self::tail_backward`] has left.
    pub fn weight_gradient(
        &self,
        lane: Lane<'_, R>,
        weights: &mut LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output_gradient: Slice<'_, R>,
    ) -> Result<()> {
        let Lane { kernels, stream, products } = lane;
        let (partials, bias_gradient) = (self.bias_partials.all(), &mut weights.bias_gradient);
        kernels.sum_bias_partials(stream, partials, bias_gradient, partials.len() / self.channels, self.channels)?;
        let gradient = self.convolution_gradient(output_gradient);
        self.convolution.weight_gradient(products, input, gradient, &mut weights.weight_gradient)?;
        match self.blocked_kernel {
            // What was summed for padded taps is not a gradient of anything.
            Some(kernel) => kernels.mask_taps(stream, &mut weights.weight_gradient, self.channels, kernel),
            None => Ok(()),
        }
    }

    /// The gradient of the input, likewise.
    pub fn input_gradient(
        &self,
        lane: Lane<'_, R>,
        weights: &LayerWeights<'_, R>,
        output_gradient: Slice<'_, R>,
        input_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let gradient = self.convolution_gradient(output_gradient);
        self.convolution.input_gradient(lane.products, weights.weight, gradient, input_gradient)
    }

    /// Where [`Self::tail_backward`] leaves the gradient of the convolution's output.
    fn convolution_gradient<'a>(&'a self, output_gradient: Slice<'a, R>) -> Slice<'a, R> {
        match &self.tail {
            DeviceTail::Relu { .. } => output_gradient,
            DeviceTail::Pooled { convolved, .. } => convolved.all(),
        }
    }
}

/// The convolution as the network has it.
pub fn shape(block: &model::ConvBlock, num_samples: usize) -> ConvolutionShape {
    ConvolutionShape {
        num_samples,
        in_channels: block.in_channels,
        in_side: block.in_side,
        out_channels: block.out_channels,
        out_side: block.conv_side,
        kernel: block.kernel,
        stride: block.stride,
        pad: block.pad,
        groups: block.groups,
    }
}
