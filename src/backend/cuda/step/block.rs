//! The blocks of the network's layers.

use std::sync::Arc;

use super::conv_block::ConvBlock;
use super::dense_block::DenseBlock;
use super::input::InputForm;
use super::weights::Weights;
use crate::backend::BackendOptions;
use crate::backend::cuda::driver::{Context, Stream};
use crate::backend::cuda::libraries::convolution::Cudnn;
use crate::backend::cuda::libraries::precision::Precision;
use crate::backend::cuda::libraries::product::{CublasLt, WORKSPACE_BYTES};
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
    /// conv1 to fc8. The dense ones add the biases that lie where `weights` says.
    pub fn all(
        context: &Arc<Context>,
        compute: &Stream,
        network: &Network,
        options: &BackendOptions,
        precision: Precision,
        weights: &mut Weights<R>,
        tuning: &mut Tuning,
    ) -> Result<Vec<Self>> {
        let (cudnn, cublas_lt) = (Cudnn::new(compute)?, CublasLt::new()?);
        let num_samples = options.batch_size;
        let blocks = network.layers.iter().enumerate().map(|(index, layer)| match &layer.block {
            network::Block::Conv(conv) => {
                let input = (index == 0).then(|| InputForm::of(conv));
                ConvBlock::new(context, &cudnn, conv, input, num_samples, precision, tuning).map(Self::Conv)
            }
            network::Block::Dense(dense) => {
                let weights = weights.layer(index);
                let channels = match &network.layers[index - 1].block {
                    network::Block::Conv(conv) => conv.out_channels,
                    network::Block::Dense(dense) => dense.outputs,
                };
                DenseBlock::new(context, &cublas_lt, dense, channels, num_samples, precision, &weights).map(Self::Dense)
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

    /// Values of [`super::workspace::Workspace::bias_partials`] that it needs.
    pub fn bias_partials(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.bias_partials(),
            Self::Dense(_) => 0,
        }
    }

    /// Bytes of working memory that its products need.
    pub fn workspace_bytes(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.workspace_bytes(),
            Self::Dense(_) => WORKSPACE_BYTES,
        }
    }
}
