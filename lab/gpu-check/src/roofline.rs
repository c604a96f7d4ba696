//! A roofline by layer: the floating-point operations and the bytes that no call of a step can do without, from the
//! network's geometry. Divided by a card's ceilings, the larger of the two times is the shortest that the call can
//! take.

use std::iter::Sum;

use serde::{Deserialize, Serialize};

use alexnet::backend::Call;
use alexnet::backend::cuda::ceilings::Ceilings;
use alexnet::model::Network;
use alexnet::model::network::Block;

/// The least that a call does, in bf16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Two for each multiply-add of its matrix products and convolutions.
    pub flops: f64,
    /// What its kernels, cuDNN's and cuBLASLt's included, read and write, each tensor once a kernel.
    pub bytes: f64,
}

impl Work {
    /// The shortest time at these ceilings.
    pub fn seconds(&self, ceilings: &Ceilings) -> f64 {
        (self.flops / ceilings.arithmetic).max(self.bytes / ceilings.memory)
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::default(), |sum, work| Self { flops: sum.flops + work.flops, bytes: sum.bytes + work.bytes })
    }
}

/// Bytes of a value in bf16: activations, their gradients, working weights and weight gradients.
const HALF: usize = 2;
/// Bytes of a value in f32: logits, master weights and velocities.
const SINGLE: usize = 4;

/// The work of a call on so many samples.
pub fn work(network: &Network, num_samples: usize, call: Call) -> Work {
    let layer = match call {
        Call::Loss => {
            let num_logits = num_samples * network.num_classes;
            return Work { flops: 0.0, bytes: (num_logits * (SINGLE + HALF)) as f64 };
        }
        Call::Forward(layer) | Call::Backward(layer) | Call::Update(layer) => layer,
    };
    let block = &network.layers[layer].block;
    let weights: usize = block.weight_shape().iter().product();
    // Values before the layer's product, between the product and its tail, and after the tail.
    let (positions, has_tail) = match block {
        Block::Conv(conv) => (conv.conv_side * conv.conv_side, true),
        Block::Dense(dense) => (1, dense.hidden.is_some()),
    };
    let input = num_samples * block.input_values();
    let product = num_samples * positions * block.num_biases();
    let output = num_samples * block.output_values();
    let product_flops = 2.0 * (num_samples * positions * weights) as f64;
    let (num_products, values) = match call {
        // The tail reads the product and writes the output.
        Call::Forward(_) => (1, input + weights + product + if has_tail { product + output } else { 0 }),
        // The tail reads the product and the output's gradient and writes the product's. The weights' gradient is a
        // product of its size, and so is the input's, which the first layer does not need.
        Call::Backward(_) => {
            let num_products = if layer == 0 { 1 } else { 2 };
            let tail = if has_tail { 2 * product + output } else { 0 };
            (num_products, num_products * (input + weights + product) + tail)
        }
        // Master weights and velocities are read and written, gradients read, working weights written.
        Call::Update(_) => {
            let bytes = (weights + block.num_biases()) * (4 * SINGLE + 2 * HALF);
            return Work { flops: 0.0, bytes: bytes as f64 };
        }
        Call::Loss => unreachable!("a loss has no layer"),
    };
    Work { flops: num_products as f64 * product_flops, bytes: (values * HALF) as f64 }
}

/// A call's name in the record.
pub fn name(network: &Network, call: Call) -> String {
    match call {
        Call::Forward(layer) => format!("{} forward", network.layers[layer].name),
        Call::Loss => "loss".into(),
        Call::Backward(layer) => format!("{} backward", network.layers[layer].name),
        Call::Update(layer) => format!("{} update", network.layers[layer].name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alexnet::backend::Pass;
    use alexnet::backend::calls;
    use alexnet::recipe::settings::ModelSettings;

    #[test]
    fn the_work_is_the_networks_and_conv1s_is_what_a_hand_computes() {
        let network = Network::new(&ModelSettings::default(), 227, 1000).expect("the paper's network");
        let all: Work = calls(network.layers.len(), Pass::Train).map(|call| work(&network, 128, call)).sum();
        assert_eq!(all.flops, 128.0 * network.step_flops() as f64);
        // 55 x 55 x 96 outputs an image, each of 3 x 11 x 11 products; pooled to 27 x 27.
        let flops = 2.0 * 128.0 * 55.0 * 55.0 * 96.0 * 363.0;
        let [input, weights, product, output] =
            [128.0 * 3.0 * 227.0 * 227.0, 96.0 * 363.0, 128.0 * 55.0 * 55.0 * 96.0, 128.0 * 27.0 * 27.0 * 96.0];
        let forward = Work { flops, bytes: 2.0 * (input + weights + 2.0 * product + output) };
        let backward = Work { flops, bytes: 2.0 * (input + weights + 3.0 * product + output) };
        let update = Work { flops: 0.0, bytes: 20.0 * (weights + 96.0) };
        let calls = [Call::Forward(0), Call::Backward(0), Call::Update(0)];
        assert_eq!(calls.map(|call| work(&network, 128, call)), [forward, backward, update]);
    }
}
