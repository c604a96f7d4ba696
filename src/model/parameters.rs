//! The weights and velocities on the host, in one contiguous buffer each.

use std::ops::Range;

use super::layers::BiasRule;
use super::network::Network;

/// Where each tensor lies in the buffers of weights, velocities and gradients.
///
/// The order is that in which the backward pass finishes gradients (fc8 first, conv1 last), so that a collective can
/// take them layer by layer while the pass is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterLayout {
    layers: Vec<LayerParameters>,
    len: usize,
}

/// A layer's tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerParameters {
    /// `conv1`, ..., `fc8`.
    pub name: String,
    /// (O, I, H, W) or (out, in).
    pub weight_shape: Vec<usize>,
    /// The weights in a buffer.
    pub weight: Range<usize>,
    /// The biases in a buffer, directly behind the weights.
    pub bias: Range<usize>,
    /// How the biases learn; the weights learn by the rule of the step alone.
    pub bias_rule: BiasRule,
}

impl LayerParameters {
    /// Weights and biases together.
    pub fn all(&self) -> Range<usize> {
        self.weight.start..self.bias.end
    }
}

impl ParameterLayout {
    /// The layout of a network's parameters.
    pub fn new(network: &Network) -> Self {
        let mut start = 0;
        let mut layers: Vec<_> = network
            .layers
            .iter()
            .rev()
            .map(|layer| {
                let weight_shape = layer.block.weight_shape();
                let weight = start..start + weight_shape.iter().product::<usize>();
                let bias = weight.end..weight.end + layer.block.num_biases();
                start = bias.end;
                LayerParameters { name: layer.name.clone(), weight_shape, weight, bias, bias_rule: layer.bias_rule }
            })
            .collect();
        layers.reverse();
        Self { layers, len: start }
    }

    /// conv1 to fc8.
    pub fn layers(&self) -> &[LayerParameters] {
        &self.layers
    }

    /// Weights and biases of all layers.
    pub fn num_parameters(&self) -> usize {
        self.len
    }
}

/// Weights, biases and their velocities in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Where each tensor lies.
    pub layout: ParameterLayout,
    /// Weights and biases.
    pub values: Vec<f32>,
    /// The momentum's velocities, laid out as the values.
    pub velocities: Vec<f32>,
}

impl Parameters {
    /// All zero.
    pub fn zeros(layout: ParameterLayout) -> Self {
        let len = layout.num_parameters();
        Self { layout, values: vec![0.0; len], velocities: vec![0.0; len] }
    }
}
