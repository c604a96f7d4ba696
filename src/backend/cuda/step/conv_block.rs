//! A convolutional block: cuDNN's products, and our kernels for all that follows them.

use std::rc::Rc;
use std::sync::Arc;

use super::input::InputForm;
use super::weights::LayerWeights;
use super::workspace::{Activations, Workspace};
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
    /// ReLU, in place in the block's output.
    Relu,
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
    num_samples: usize,
    /// Pixels of the convolution's output, in all samples.
    rows: usize,
    channels: usize,
}

impl<R: Real> ConvBlock<R> {
    /// The first block takes its input in a form of its own, the others as the block before leaves it.
    pub fn new(
        context: &Arc<Context>,
        cudnn: &Rc<Cudnn>,
        block: &model::ConvBlock,
        input: Option<InputForm>,
        num_samples: usize,
        precision: Precision,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let shape = input.map_or_else(|| shape(block, num_samples), |form| form.shape(block, num_samples));
        let values = |side: usize| num_samples * side * side * block.out_channels;
        let tail = match ConvTail::new(block).expect("the network was checked") {
            None => DeviceTail::Relu,
            Some(tail) => DeviceTail::Pooled {
                tail,
                convolved: Buffer::zeros(context, "a convolution's output", values(block.conv_side))?,
                argmax: Buffer::zeros(context, "pooling's argmax", values(block.out_side))?,
            },
        };
        Ok(Self {
            convolution: Convolution::new(cudnn, shape, precision, tuning)?,
            blocked_kernel: (input == Some(InputForm::SpaceToDepth)).then_some(block.kernel),
            tail,
            num_samples,
            rows: num_samples * block.conv_side * block.conv_side,
            channels: block.out_channels,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        match &self.tail {
            DeviceTail::Relu => 0,
            DeviceTail::Pooled { convolved, argmax, .. } => convolved.num_bytes() + argmax.num_bytes(),
        }
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Values of [`Workspace::bias_partials`] that its bias gradient needs.
    pub fn bias_partials(&self) -> usize {
        self.num_partials() * self.channels
    }

    fn num_partials(&self) -> usize {
        match &self.tail {
            DeviceTail::Relu => num_bias_partials(self.rows, self.channels),
            DeviceTail::Pooled { tail, .. } => tail.num_partials(self.num_samples),
        }
    }

    /// Bytes of working memory that its products need.
    pub fn workspace_bytes(&self) -> usize {
        self.convolution.workspace_bytes()
    }

    /// From the block's input to its output, (N, out_side, out_side, C).
    pub fn forward(
        &mut self,
        workspace: Workspace<'_, R>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let Workspace { kernels, stream, products, .. } = workspace;
        match &mut self.tail {
            DeviceTail::Relu => {
                self.convolution.forward(products, input, weights.weight, output)?;
                kernels.bias_relu_forward(stream, output, weights.bias, self.rows, self.channels)
            }
            DeviceTail::Pooled { tail, convolved, argmax } => {
                self.convolution.forward(products, input, weights.weight, &mut convolved.all_mut())?;
                let (convolved, argmax) = (convolved.all(), &mut argmax.all_mut());
                kernels.conv_tail_forward(stream, convolved, weights.bias, output, argmax, self.num_samples, tail)
            }
        }
    }

    /// The gradients of weights and biases, and of the input where it is asked for.
    pub fn backward(
        &mut self,
        workspace: Workspace<'_, R>,
        weights: &mut LayerWeights<'_, R>,
        activations: Activations<'_, R>,
    ) -> Result<()> {
        let Workspace { kernels, stream, products, bias_partials } = workspace;
        let Activations { input, output, mut output_gradient, input_gradient } = activations;
        let (num_partials, mut partials) = (self.num_partials(), bias_partials.part_mut(0..self.bias_partials()));
        let gradient = match &mut self.tail {
            DeviceTail::Relu => {
                let (rows, channels) = (self.rows, self.channels);
                kernels.bias_relu_backward(stream, output, &mut output_gradient, &mut partials, rows, channels)?;
                output_gradient.as_slice()
            }
            DeviceTail::Pooled { tail, convolved, argmax } => {
                kernels.conv_tail_backward(
                    stream,
                    &mut convolved.all_mut(),
                    weights.bias,
                    output,
                    &mut output_gradient,
                    argmax.all(),
                    &mut partials,
                    self.num_samples,
                    tail,
                )?;
                convolved.all()
            }
        };
        let bias_gradient = &mut weights.bias_gradient;
        kernels.sum_bias_partials(stream, partials.as_slice(), bias_gradient, num_partials, self.channels)?;
        self.convolution.weight_gradient(products, input, gradient, &mut weights.weight_gradient)?;
        if let Some(kernel) = self.blocked_kernel {
            // What was summed for padded taps is not a gradient of anything.
            kernels.mask_taps(stream, &mut weights.weight_gradient, self.channels, kernel)?;
        }
        match input_gradient {
            Some(mut to) => self.convolution.input_gradient(products, weights.weight, gradient, &mut to),
            None => Ok(()),
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
