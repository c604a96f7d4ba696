//! The blocks of the network's layers.

use std::sync::Arc;

use super::conv_block::ConvBlock;
use super::dense_block::{DenseBlock, DropoutDraw};
use super::input::InputForm;
use super::lane::Lane;
use super::weights::{LayerWeights, Weights};
use crate::backend::BackendOptions;
use crate::backend::cuda::driver::{Context, Slice, SliceMut, Stream};
use crate::backend::cuda::libraries::convolution::Cudnn;
use crate::backend::cuda::libraries::precision::Precision;
use crate::backend::cuda::libraries::product::CublasLt;
use crate::backend::cuda::libraries::tuning::Tuning;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{Network, network};

#[derive(Debug)]
pub enum Block<R> {
    /// conv1 to conv5.
    Conv(ConvBlock<R>),
    /// fc6 to fc8.
    Dense(DenseBlock<R>),
}

impl<R: Real> Block<R> {
    /// conv1 to fc8, which compute weight gradients on one stream and everything else on another. The dense ones add
    /// the biases that lie where `weights` says.
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    pub fn all(
        context: &Arc<Context>,
        compute: &Stream,
        gradients: &Stream,
        network: &Network,
        options: &BackendOptions,
        precision: Precision,
        weights: &mut Weights<R>,
        tuning: &mut Tuning,
    ) -> Result<Vec<Self>> {
        let (cudnn, for_weights, cublas_lt) = (Cudnn::new(compute)?, Cudnn::new(gradients)?, CublasLt::new()?);
        let num_samples = options.batch_size;
        let blocks = network.layers.iter().enumerate().map(|(index, layer)| match &layer.block {
            network::Block::Conv(conv) => {
                let input = (index == 0).then(|| InputForm::of(conv));
                ConvBlock::new(context, &cudnn, &for_weights, conv, input, num_samples, precision, tuning)
                    .map(Self::Conv)
            }
            network::Block::Dense(dense) => {
                let weights = weights.layer(index);
                let channels = match &network.layers[index - 1].block {
                    network::Block::Conv(conv) => conv.out_channels,
                    network::Block::Dense(dense) => dense.outputs,
                };
                DenseBlock::new(context, &cublas_lt, dense, channels, num_samples, precision, &weights, tuning)
                    .map(Self::Dense)
            }
        });
        blocks.collect()
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        match self {
            Self::Conv(conv) => conv.num_bytes(),
            Self::Dense(dense) => dense.num_bytes(),
        }
    }

    /// Bytes of working memory that its products need: that for the weight gradient, and the others.
    pub fn workspace_bytes(&self) -> [usize; 2] {
        match self {
            Self::Conv(conv) => conv.workspace_bytes(),
            Self::Dense(dense) => dense.workspace_bytes(),
        }
    }

    /// From the gradient of a hidden block's output, which is overwritten, to that of its product.
    pub fn tail_backward(
        &mut self,
        lane: Lane<'_, R>,
        weights: &mut LayerWeights<'_, R>,
        output: Slice<'_, R>,
        output_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        match self {
            Self::Conv(conv) => conv.tail_backward(lane, weights, output, output_gradient),
            Self::Dense(dense) => dense.tail_backward(lane, weights, output, output_gradient),
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
        match self {
            Self::Conv(conv) => conv.weight_gradient(lane, weights, input, output_gradient),
            Self::Dense(dense) => dense.weight_gradient(lane, weights, input, output_gradient),
        }
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
        match self {
            Self::Conv(conv) => conv.input_gradient(lane, weights, output_gradient, input_gradient),
            Self::Dense(dense) => dense.input_gradient(lane, draw, weights, output_gradient, input_gradient),
        }
    }
}
