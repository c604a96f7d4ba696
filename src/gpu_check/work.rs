//! What each call of a step must do at least: operations and bytes, from the network's geometry.

use crate::backend::Call;
use crate::backend::cuda::kernels::{ConvTail, num_bias_partials};
use crate::backend::cuda::step::layout::{BLOCK_CHANNELS, BLOCK_KERNEL, padded_outputs};
use crate::model::Network;
use crate::model::network::{Block, ConvBlock, DenseBlock};

/// Of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations of the products: two a multiply-add of the paper's layer, without padding.
    pub flops: f64,
    /// Products read their factors and write their results once.
    pub product_bytes: f64,
    /// What our kernels read and write, once each.
    pub kernel_bytes: f64,
    /// Kernels that are launched, ours and the libraries', one a product.
    pub launches: usize,
}

impl Work {
    /// All bytes.
    pub fn bytes(&self) -> f64 {
        self.product_bytes + self.kernel_bytes
    }
}

/// Bytes of one value.
const HALF: usize = 2;
const SINGLE: usize = 4;

/// A network at a batch size and with activations of so many bytes a value.
pub struct Workload<'a> {
    pub network: &'a Network,
    pub num_samples: usize,
    /// Of activations, working weights and gradients.
    pub value_bytes: usize,
}

impl Workload<'_> {
    /// Of the default recipes' tails: LRN before pooling.
    pub fn of(&self, call: Call) -> Work {
        match call {
            Call::Forward(layer) => match &self.network.layers[layer].block {
                Block::Conv(conv) => self.conv_forward(conv, layer == 0),
                Block::Dense(dense) => self.dense_forward(dense),
            },
            Call::Loss => {
                let logits = self.num_samples * self.network.num_classes;
                let kernel_bytes = (logits * (SINGLE + self.value_bytes)) as f64;
                Work { kernel_bytes, launches: 2, ..Work::default() }
            }
            Call::Backward(layer) => match &self.network.layers[layer].block {
                Block::Conv(conv) => self.conv_backward(conv, layer == 0),
                Block::Dense(dense) => self.dense_backward(dense),
            },
            Call::Update(layer) => {
                let block = &self.network.layers[layer].block;
                let parameters = block.weight_shape().iter().product::<usize>() + block.num_biases();
                // Values and velocities are read and written; gradients read, working weights (where there are any) written.
                let working = if self.value_bytes == SINGLE { 0 } else { self.value_bytes };
                let kernel_bytes = (parameters * (4 * SINGLE + self.value_bytes + working)) as f64;
                Work { kernel_bytes, launches: 1, ..Work::default() }
            }
        }
    }

    /// Values of input, weights and output of a convolution as the device has them.
    fn conv_values(&self, conv: &ConvBlock, is_first: bool) -> [usize; 3] {
        let output = self.num_samples * conv.conv_side * conv.conv_side * conv.out_channels;
        if is_first {
            let side = conv.conv_side + BLOCK_KERNEL - 1;
            let weights = conv.out_channels * BLOCK_KERNEL * BLOCK_KERNEL * BLOCK_CHANNELS;
            return [self.num_samples * side * side * BLOCK_CHANNELS, weights, output];
        }
        let input = self.num_samples * conv.in_side * conv.in_side * conv.in_channels;
        [input, conv.out_channels * conv.in_channels / conv.groups * conv.kernel * conv.kernel, output]
    }

    fn conv_flops(&self, conv: &ConvBlock) -> f64 {
        let taps = conv.in_channels / conv.groups * conv.kernel * conv.kernel;
        2.0 * (self.num_samples * conv.conv_side * conv.conv_side * conv.out_channels * taps) as f64
    }

    fn pooled_values(&self, conv: &ConvBlock) -> usize {
        self.num_samples * conv.out_side * conv.out_side * conv.out_channels
    }

    fn conv_forward(&self, conv: &ConvBlock, is_first: bool) -> Work {
        let [input, weights, output] = self.conv_values(conv, is_first);
        let arranged = if is_first {
            self.num_samples * 3 * conv.in_side * conv.in_side * HALF + input * self.value_bytes
        } else {
            0
        };
        let tail = match ConvTail::new(conv) {
            // Winners are one byte each.
            Some(_) => output * self.value_bytes + self.pooled_values(conv) * (self.value_bytes + 1),
            None => 2 * output * self.value_bytes,
        };
        Work {
            flops: self.conv_flops(conv),
            product_bytes: ((input + weights + output) * self.value_bytes) as f64,
            kernel_bytes: (arranged + tail) as f64,
            launches: if is_first { 3 } else { 2 },
        }
    }

    fn conv_backward(&self, conv: &ConvBlock, is_first: bool) -> Work {
        let [input, weights, output] = self.conv_values(conv, is_first);
        let rows = self.num_samples * conv.conv_side * conv.conv_side;
        let (tail, partials) = match ConvTail::new(conv) {
            Some(tail) => {
                let read_and_written =
                    2 * output * self.value_bytes + self.pooled_values(conv) * (self.value_bytes + 1);
                (read_and_written, tail.num_partials(self.num_samples))
            }
            None => (3 * output * self.value_bytes, num_bias_partials(rows, conv.out_channels)),
        };
        // Written by one kernel, read by the next.
        let partials = 2 * partials * conv.out_channels * SINGLE;
        let (num_products, masked) = if is_first { (1, 2 * weights * self.value_bytes) } else { (2, 0) };
        Work {
            flops: num_products as f64 * self.conv_flops(conv),
            product_bytes: (num_products * (input + weights + output) * self.value_bytes) as f64,
            kernel_bytes: (tail + partials + masked) as f64,
            launches: 4,
        }
    }

    fn dense_forward(&self, dense: &DenseBlock) -> Work {
        let [input, weights, output] = self.dense_values(dense);
        let output_bytes = if dense.hidden.is_some() { self.value_bytes } else { SINGLE };
        let dropout = if dense.hidden.is_some() { 2 * output * self.value_bytes } else { 0 };
        Work {
            flops: self.dense_flops(dense),
            product_bytes: ((input + weights) * self.value_bytes + output * output_bytes) as f64,
            kernel_bytes: dropout as f64,
            launches: if dense.hidden.is_some() { 2 } else { 1 },
        }
    }

    fn dense_backward(&self, dense: &DenseBlock) -> Work {
        let [input, weights, output] = self.dense_values(dense);
        // The hidden ones read output and gradient and write the gradient; fc8 reads its gradient alone.
        let passes = if dense.hidden.is_some() { 3 } else { 1 };
        Work {
            flops: 2.0 * self.dense_flops(dense),
            product_bytes: (2 * (input + weights + output) * self.value_bytes) as f64,
            kernel_bytes: (passes * output * self.value_bytes) as f64,
            launches: 3,
        }
    }

    fn dense_values(&self, dense: &DenseBlock) -> [usize; 3] {
        let outputs = padded_outputs(dense.outputs);
        [self.num_samples * dense.inputs, dense.inputs * outputs, self.num_samples * outputs]
    }

    fn dense_flops(&self, dense: &DenseBlock) -> f64 {
        2.0 * (self.num_samples * dense.inputs * dense.outputs) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Pass;
    use crate::backend::step::calls;
    use crate::recipe::settings::ModelSettings;

    #[test]
    fn the_products_of_all_calls_are_the_networks() {
        let network = Network::new(&ModelSettings::default(), 227, 1000).expect("the paper's network");
        let workload = Workload { network: &network, num_samples: 128, value_bytes: HALF };
        let flops: f64 = calls(network.layers.len(), Pass::Train).map(|call| workload.of(call).flops).sum();
        assert_eq!(flops, 128.0 * network.step_flops() as f64);
    }

    #[test]
    fn kernels_move_the_bytes_of_their_table() {
        // docs/performance.md, in MB: arrange_input and conv_tail_forward of conv1; bias_relu_backward and its sums of conv4; the whole update.
        let network = Network::new(&ModelSettings::default(), 227, 1000).expect("the paper's network");
        let workload = Workload { network: &network, num_samples: 128, value_bytes: HALF };
        let megabytes = |call| workload.of(call).kernel_bytes / 1e6;
        assert!((megabytes(Call::Forward(0)) - (39.6 + 53.2 + 74.3 + 26.9)).abs() < 0.2);
        assert!((megabytes(Call::Backward(3)) - (33.2 + 18.2 + 1.6)).abs() < 0.2);
        let update: f64 = (0..8).map(|layer| megabytes(Call::Update(layer))).sum();
        assert!((update - 2.0 * 623.8).abs() < 0.2, "{update}");
    }
}
