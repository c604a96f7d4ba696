//! The device's memory between the layers.

use std::sync::Arc;

use super::block::Block;
use super::input::ArrangedInput;
use super::layout;
use crate::backend::cuda::driver::{Buffer, Context};
use crate::backend::cuda::kernels::SampleLoss;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{Network, network};

/// What passes between the layers, and what they share.
#[derive(Debug)]
pub struct Memory<R> {
    /// The first layer's input.
    pub arranged: ArrangedInput<R>,
    /// The outputs of conv1 to fc7.
    pub outputs: Vec<Buffer<R>>,
    /// (N, outputs of fc8).
    pub logits: Buffer<f32>,
    /// Gradients of the outputs of layers of even and odd number: no two layers are in work at a time.
    pub output_gradients: [Buffer<R>; 2],
    /// (N).
    pub losses: Buffer<SampleLoss>,
    /// Of the libraries' products.
    pub products: Buffer<u8>,
    /// Sums of parts of a bias gradient.
    pub bias_partials: Buffer<f32>,
}

impl<R: Real> Memory<R> {
    pub fn new(context: &Arc<Context>, network: &Network, batch_size: usize, blocks: &[Block<R>]) -> Result<Self> {
        let network::Block::Conv(first) = &network.layers[0].block else { unreachable!("checked before") };
        let values = |layer: &network::Layer| batch_size * layer.block.output_values();
        let (last, before) = network.layers.split_last().expect("a network has layers");
        let num_logits = batch_size * layout::padded_outputs(last.block.num_biases());
        let largest = before.iter().map(values).max().unwrap_or(0).max(num_logits);
        let gradients = || Buffer::zeros(context, "gradients of outputs", largest);
        let products = blocks.iter().map(Block::workspace_bytes).max().unwrap_or(0);
        let bias_partials = blocks.iter().map(Block::bias_partials).max().unwrap_or(0);
        Ok(Self {
            arranged: ArrangedInput::new(context, first, batch_size)?,
            outputs: before
                .iter()
                .map(|layer| Buffer::zeros(context, &layer.name, values(layer)))
                .collect::<Result<_>>()?,
            logits: Buffer::zeros(context, "logits", num_logits)?,
            output_gradients: [gradients()?, gradients()?],
            losses: Buffer::zeros(context, "losses", batch_size)?,
            products: Buffer::zeros(context, "the products' working memory", products)?,
            bias_partials: Buffer::zeros(context, "bias gradients", bias_partials)?,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        self.arranged.values.num_bytes()
            + self.outputs.iter().map(Buffer::num_bytes).sum::<u64>()
            + self.logits.num_bytes()
            + self.output_gradients.iter().map(Buffer::num_bytes).sum::<u64>()
            + self.products.num_bytes()
            + self.bias_partials.num_bytes()
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
