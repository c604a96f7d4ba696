//! Initial values: a pure function of the seed, the layer and the weight's place.

use rayon::prelude::*;

use super::network::{Block, Network};
use super::parameters::{ParameterLayout, Parameters};
use crate::philox::{Purpose, normal_pair, words};
use crate::recipe::settings::{InitScheme, ModelSettings};

/// Layers whose biases begin at 1 (section 5 of the paper).
const POSITIVE_BIASES: [&str; 5] = ["conv2", "conv4", "conv5", "fc6", "fc7"];

/// A network's first weights; the velocities are zero.
pub fn initial_parameters(network: &Network, settings: &ModelSettings, seed: u64) -> Parameters {
    let mut parameters = Parameters::zeros(ParameterLayout::new(network));
    for (index, layer) in network.layers.iter().enumerate() {
        let place = parameters.layout.layers()[index].clone();
        let (deviation, bias) = deviation_and_bias(settings, layer.name, &layer.block);
        parameters.values[place.weight].par_chunks_mut(4).enumerate().for_each(|(quad, weights)| {
            let bits = words(seed, Purpose::Init, [quad as u32, index as u32, 0]);
            let draws = [normal_pair(bits[0], bits[1]), normal_pair(bits[2], bits[3])];
            for (weight, draw) in weights.iter_mut().zip(draws.as_flattened()) {
                *weight = draw * deviation as f32;
            }
        });
        parameters.values[place.bias].fill(bias as f32);
    }
    parameters
}

/// The standard deviation of a layer's initial weights, and its initial bias.
pub fn deviation_and_bias(settings: &ModelSettings, name: &str, block: &Block) -> (f64, f64) {
    let positive = POSITIVE_BIASES.contains(&name);
    let (deviation, bias) = match settings.init {
        InitScheme::Paper => (0.01, if positive { 1.0 } else { 0.0 }),
        InitScheme::Code2012 => {
            let wide = ["conv3", "conv4", "conv5"].contains(&name);
            (if wide { 0.03 } else { 0.01 }, if positive { 1.0 } else { 0.0 })
        }
        InitScheme::Caffe => {
            let narrow = ["fc6", "fc7"].contains(&name);
            (if narrow { 0.005 } else { 0.01 }, if positive { 0.1 } else { 0.0 })
        }
        InitScheme::He if name == "fc8" => (0.01, 0.0),
        InitScheme::He => ((2.0 / block.fan_in() as f64).sqrt(), 0.0),
    };
    let own = settings.layer.get(name).cloned().unwrap_or_default();
    (own.deviation.unwrap_or(deviation), own.bias.unwrap_or(bias))
}
