//! A dense block: cuBLASLt's products, and our kernels for dropout and the bias gradient.

use std::rc::Rc;
use std::sync::Arc;

use super::lane::Lane;
use super::weights::LayerWeights;
use crate::backend::Pass;
use crate::backend::cuda::driver::{Buffer, Context, Slice, SliceMut, Stream};
use crate::backend::cuda::kernels::{Kernels, Scalars};
use crate::backend::cuda::libraries::precision::Precision;
use crate::backend::cuda::libraries::product::{CublasLt, DenseShape, Kind, Product, Units};
use crate::backend::cuda::libraries::tuning::Tuning;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{self, Dropout};

/// A block of one layer.
#[derive(Debug)]
pub struct DenseBlock<R> {
    shape: DenseShape,
    input_dropout: Option<InputDropout<R>>,
    hidden: Option<Dropout>,
    forward: Product,
    weight_gradient: Product,
    input_gradient: Product,
}

/// Dropout before the block.
#[derive(Debug)]
struct InputDropout<R> {
    dropout: Dropout,
    /// Values of one sample, and its channels: the block's input is (N, H, W, channels).
    inputs: usize,
    channels: usize,
    /// (N, inputs): what the products take. The backward pass reads what the forward pass has left.
    dropped: Buffer<R>,
}

/// Where a step's dropout draws from.
#[derive(Clone, Copy, Debug)]
pub struct DropoutDraw<'a> {
    pub seed: u64,
    /// Counts from 0 (conv1).
    pub layer: usize,
    /// They hold the step.
    pub scalars: Slice<'a, Scalars>,
}

impl<R: Real> DenseBlock<R> {
    /// Chooses the products' algorithms. The biases lie where `weights` says, always. The input has so many channels.
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    pub fn new(
        context: &Arc<Context>,
        library: &Rc<CublasLt>,
        block: &model::DenseBlock,
        channels: usize,
        num_samples: usize,
        precision: Precision,
        weights: &LayerWeights<'_, R>,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let hidden = block.hidden;
        let shape = DenseShape { num_samples, inputs: block.inputs, outputs: weights.bias.len() };
        let dropout = block.dropout_before.filter(|dropout| dropout.probability > 0.0);
        let input_dropout = dropout.map(|dropout| {
            let dropped = Buffer::zeros(context, "dropped inputs", num_samples * block.inputs)?;
            Ok(InputDropout { dropout, inputs: block.inputs, channels, dropped })
        });
        let (units, bias) = match hidden {
            Some(_) => (Units::Hidden, weights.bias.address()),
            None => (Units::Logits, weights.master_bias.address()),
        };
        let mut product = |kind, bias| Product::new(context, library, kind, shape, precision, bias, tuning);
        Ok(Self {
            shape,
            input_dropout: input_dropout.transpose()?,
            hidden,
            forward: product(Kind::Forward(units), Some(bias))?,
            weight_gradient: product(Kind::WeightGradient, None)?,
            input_gradient: product(Kind::InputGradient, None)?,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        self.input_dropout.as_ref().map_or(0, |before| before.dropped.num_bytes())
    }

    /// A hidden block: input (N, inputs) to output (N, outputs).
    pub fn forward_hidden(
        &mut self,
        lane: Lane<'_, R>,
        pass: Pass,
        draw: DropoutDraw<'_>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let (kernels, stream, outputs) = (lane.kernels, lane.stream, self.shape.outputs);
        let dropout = self.hidden.expect("a hidden block");
        self.forward_product(lane, pass, draw, weights, input, output)?;
        match pass {
            _ if dropout.probability == 0.0 => kernels.relu_scale(stream, None, output, 1.0),
            Pass::Train => draw.drop_units(kernels, stream, &dropout, None, output, outputs, outputs, true),
            Pass::Eval => kernels.relu_scale(stream, None, output, dropout.eval_scale),
        }
    }

    /// The product with its epilogue, which is all of the last block: input (N, inputs) to logits (N, outputs) in f32.
    pub fn forward_product<U>(
        &mut self,
        lane: Lane<'_, R>,
        pass: Pass,
        draw: DropoutDraw<'_>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: &mut SliceMut<'_, U>,
    ) -> Result<()> {
        let Lane { kernels, stream, products } = lane;
        let input = match &mut self.input_dropout {
            None => input,
            Some(InputDropout { dropout, inputs, channels, dropped }) => {
                let to = &mut dropped.all_mut();
                match pass {
                    Pass::Train => {
                        draw.drop_units(kernels, stream, dropout, Some(input), to, *inputs, *channels, false)?
                    }
                    // Inputs have been through ReLU.
                    Pass::Eval => kernels.relu_scale(stream, Some(input), to, dropout.eval_scale)?,
                }
                dropped.all()
            }
        };
        self.forward.run(stream, products, weights.weight, input, output)
    }

    /// Bytes of working memory that its products need: that for the weight gradient, and the others.
    pub fn workspace_bytes(&self) -> [usize; 2] {
        let chain = self.forward.workspace_bytes().max(self.input_gradient.workspace_bytes());
        [self.weight_gradient.workspace_bytes(), chain]
    }

    /// From the gradient of a hidden block's output to that of the product, in place, and the gradient of the biases.
    pub fn tail_backward(
        &self,
        lane: Lane<'_, R>,
        weights: &mut LayerWeights<'_, R>,
        output: Slice<'_, R>,
        output_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let Lane { kernels, stream, .. } = lane;
        let DenseShape { num_samples, outputs, .. } = self.shape;
        let dropout = self.hidden.expect("a hidden block");
        let scale = if dropout.probability > 0.0 { dropout.train_scale } else { 1.0 };
        let bias_gradient = &mut weights.bias_gradient;
        kernels.dense_backward(stream, output, scale, output_gradient, bias_gradient, num_samples, outputs)
    }

    /// The gradient of the weights, from what [`Self::tail_backward`] has left; of the last block, which has no tail,
    /// that of the biases too.
    pub fn weight_gradient(
        &self,
        lane: Lane<'_, R>,
        weights: &mut LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output_gradient: Slice<'_, R>,
    ) -> Result<()> {
        let Lane { kernels, stream, products } = lane;
        if self.hidden.is_none() {
            let DenseShape { num_samples, outputs, .. } = self.shape;
            kernels.sum_samples(stream, output_gradient, &mut weights.bias_gradient, num_samples, outputs)?;
        }
        let input = self.input_dropout.as_ref().map_or(input, |before| before.dropped.all());
        self.weight_gradient.run(stream, products, input, output_gradient, &mut weights.weight_gradient)
    }

    /// The gradient of the input, likewise.
    pub fn input_gradient(
        &self,
        lane: Lane<'_, R>,
        draw: DropoutDraw<'_>,
        weights: &LayerWeights<'_, R>,
        output_gradient: Slice<'_, R>,
        input_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let Lane { kernels, stream, products } = lane;
        self.input_gradient.run(stream, products, weights.weight, output_gradient, input_gradient)?;
        match &self.input_dropout {
            // Dropout multiplies by numbers that do not depend on its input, and the gradient by the same.
            Some(InputDropout { dropout, inputs, channels, .. }) => {
                draw.drop_units(kernels, stream, dropout, None, input_gradient, *inputs, *channels, false)
            }
            None => Ok(()),
        }
    }
}

impl DropoutDraw<'_> {
    /// input to output, or in place, both (N, units / channels, channels).
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    fn drop_units<R: Real>(
        self,
        kernels: &Kernels<R>,
        stream: &Stream,
        dropout: &Dropout,
        input: Option<Slice<'_, R>>,
        output: &mut SliceMut<'_, R>,
        units: usize,
        channels: usize,
        rectify: bool,
    ) -> Result<()> {
        let Self { seed, layer, scalars } = self;
        let num_samples = output.len() / units;
        kernels.dropout_forward(
            stream,
            input,
            output,
            scalars,
            seed,
            layer,
            dropout,
            num_samples,
            units,
            channels,
            rectify,
        )
    }
}
