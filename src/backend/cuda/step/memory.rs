//! The device's memory between the layers.

use std::sync::Arc;

use super::block::Block;
use super::layout;
use crate::backend::cuda::driver::{Buffer, Context};
use crate::backend::cuda::kernels::SampleLoss;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{Network, network};

/// What passes between the layers, and what they share.
#[derive(Debug)]
pub struct Memory<R> {
    /// The outputs of conv1 to fc7.
    pub outputs: Vec<Buffer<R>>,
    /// (N, outputs of fc8).
    pub logits: Buffer<f32>,
    /// The gradients of the outputs of conv1 to fc8.
    pub output_gradients: Vec<Buffer<R>>,
    /// (N).
    pub losses: Buffer<SampleLoss>,
    /// The libraries' working memory for weight gradients.
    pub gradient_products: Buffer<u8>,
    /// Their working memory for everything else.
    pub products: Buffer<u8>,
}

impl<R: Real> Memory<R> {
    pub fn new(context: &Arc<Context>, network: &Network, batch_size: usize, blocks: &[Block<R>]) -> Result<Self> {
        let values = |layer: &network::Layer| batch_size * layer.block.output_values();
        let (last, before) = network.layers.split_last().expect("a network has layers");
        let num_logits = batch_size * layout::padded_outputs(last.block.num_biases());
        let outputs = || before.iter().map(|layer| Buffer::zeros(context, &layer.name, values(layer)));
        let logits_gradient = Buffer::zeros(context, "the logits' gradient", num_logits);
        let [gradient_products, products] = [0, 1].map(|lane| {
            let num_bytes = blocks.iter().map(|block| block.workspace_bytes()[lane]).max().unwrap_or(0);
            Buffer::zeros(context, "the products' working memory", num_bytes.max(1))
        });
        Ok(Self {
            outputs: outputs().collect::<Result<_>>()?,
            logits: Buffer::zeros(context, "logits", num_logits)?,
            output_gradients: outputs().chain([logits_gradient]).collect::<Result<_>>()?,
            losses: Buffer::zeros(context, "losses", batch_size)?,
            gradient_products: gradient_products?,
            products: products?,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        let activations = self.outputs.iter().chain(&self.output_gradients);
        activations.map(Buffer::num_bytes).sum::<u64>()
            + self.logits.num_bytes()
            + self.gradient_products.num_bytes()
            + self.products.num_bytes()
    }

    /// A layer's last output as the border has it, (N, output values) with images as (C, H, W), of a convolution with
    /// so many channels. Nothing that writes it may be under way.
    pub fn read_output(
        &self,
        layer: usize,
        channels: Option<usize>,
        num_samples: usize,
        num_classes: usize,
    ) -> Result<Vec<f32>> {
        let Some(output) = self.outputs.get(layer) else {
            let (mut read, stride) = (vec![0.0; self.logits.len()], self.logits.len() / num_samples);
            self.logits.all().read(&mut read)?;
            return Ok(read.chunks_exact(stride).flat_map(|row| &row[..num_classes]).copied().collect());
        };
        let mut read = vec![R::zeroed(); output.len()];
        output.all().read(&mut read)?;
        let values = output.len() / num_samples;
        let channels = channels.unwrap_or(values);
        let positions = values / channels;
        let in_order = (0..read.len()).map(|at| {
            let (position, channel, sample) = (at % positions, at / positions % channels, at / values);
            read[(sample * positions + position) * channels + channel].to_f32()
        });
        Ok(in_order.collect())
    }
}
