//! A dense block: cuBLASLt's products, and our kernels for dropout and the bias gradient.

use std::rc::Rc;

use super::weights::LayerWeights;
use super::workspace::{Activations, Workspace};
use crate::backend::Pass;
use crate::backend::cuda::driver::{Slice, SliceMut};
use crate::backend::cuda::kernels::Scalars;
use crate::backend::cuda::libraries::precision::Precision;
use crate::backend::cuda::libraries::product::{CublasLt, DenseShape, Epilogue, Kind, Product};
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::Dropout;

/// A block of one layer.
#[derive(Debug)]
pub struct DenseBlock {
    shape: DenseShape,
    hidden: Option<Dropout>,
    forward: Product,
    weight_gradient: Product,
    input_gradient: Product,
}

/// Where a step's dropout draws from.
#[derive(Clone, Copy, Debug)]
pub struct DropoutDraw<'a> {
    /// Of the run.
    pub seed: u64,
    /// Counts from 0 (conv1).
    pub layer: usize,
    /// They hold the step.
    pub scalars: Slice<'a, Scalars>,
}

impl DenseBlock {
    /// Chooses the products' algorithms. The biases lie where `weights` says, always.
    pub fn new<R: Real>(
        library: &Rc<CublasLt>,
        shape: DenseShape,
        hidden: Option<Dropout>,
        precision: Precision,
        weights: &LayerWeights<'_, R>,
    ) -> Result<Self> {
        let (epilogue, bias) = match hidden {
            Some(_) => (Epilogue::BiasRelu, weights.bias.address()),
            None => (Epilogue::Bias, weights.master_bias.address()),
        };
        let product = |kind, bias| Product::new(library, kind, shape, precision, bias);
        Ok(Self {
            shape,
            hidden,
            forward: product(Kind::Forward(epilogue), Some(bias))?,
            weight_gradient: product(Kind::WeightGradient, None)?,
            input_gradient: product(Kind::InputGradient, None)?,
        })
    }

    /// A hidden block: input (N, inputs) to output (N, outputs).
    pub fn forward_hidden<R: Real>(
        &self,
        workspace: Workspace<'_, R>,
        pass: Pass,
        draw: DropoutDraw<'_>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        let Workspace { kernels, stream, products, .. } = workspace;
        let DropoutDraw { seed, layer, scalars } = draw;
        let DenseShape { num_samples, outputs, .. } = self.shape;
        let dropout = self.hidden.expect("a hidden block");
        self.forward.run(stream, products, weights.weight, input, output)?;
        match pass {
            _ if dropout.probability == 0.0 => Ok(()),
            Pass::Train => {
                kernels.dropout_forward(stream, output, scalars, seed, layer, &dropout, num_samples, outputs)
            }
            Pass::Eval => kernels.scale(stream, output, dropout.eval_scale),
        }
    }

    /// The last block: input (N, inputs) to logits (N, outputs) in f32.
    pub fn forward_logits<R: Real>(
        &self,
        workspace: Workspace<'_, R>,
        weights: &LayerWeights<'_, R>,
        input: Slice<'_, R>,
        logits: &mut SliceMut<'_, f32>,
    ) -> Result<()> {
        self.forward.run(workspace.stream, workspace.products, weights.weight, input, logits)
    }

    /// The gradients of weights, biases and input.
    pub fn backward<R: Real>(
        &self,
        workspace: Workspace<'_, R>,
        weights: &mut LayerWeights<'_, R>,
        activations: Activations<'_, R>,
    ) -> Result<()> {
        let Workspace { kernels, stream, products, .. } = workspace;
        let Activations { input, output, mut output_gradient, input_gradient } = activations;
        let DenseShape { num_samples, outputs, .. } = self.shape;
        let hidden = self.hidden.map(|dropout| {
            let scale = if dropout.probability > 0.0 { dropout.train_scale } else { 1.0 };
            (output, scale)
        });
        let bias_gradient = &mut weights.bias_gradient;
        kernels.dense_backward(stream, hidden, &mut output_gradient, bias_gradient, num_samples, outputs)?;
        let gradient = output_gradient.as_slice();
        self.weight_gradient.run(stream, products, input, gradient, &mut weights.weight_gradient)?;
        match input_gradient {
            Some(mut to) => self.input_gradient.run(stream, products, weights.weight, gradient, &mut to),
            None => Ok(()),
        }
    }
}
