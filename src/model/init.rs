//! Initial values: a pure function of the seed, the layer and the weight's place.

use rayon::prelude::*;

use super::network::{Initial, Network};
use super::parameters::{ParameterLayout, Parameters};
use crate::philox::{Purpose, normal_pair, words};

/// A network's first weights; the velocities are zero.
pub fn initial_parameters(network: &Network, seed: u64) -> Parameters {
    let mut parameters = Parameters::zeros(ParameterLayout::new(network));
    for (index, layer) in network.layers.iter().enumerate() {
        let place = parameters.layout.layers()[index].clone();
        let Initial { deviation, bias } = layer.initial;
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
