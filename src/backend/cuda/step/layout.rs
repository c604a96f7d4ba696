//! How weights lie on the device, and how they get there: filters (O, H, W, I), the first layer's in the form of its
//! input, fc6's inputs in the order of its input's values, fc8's outputs padded.

use std::ops::Range;

use super::input::{BLOCK, BLOCK_CHANNELS, BLOCK_KERNEL, COLOURS, InputForm, PADDED_CHANNELS};
use crate::model::network::{Block, Layer};
use crate::model::{BiasRule, Network};

/// Every tensor begins at a multiple of so many values: 256 bytes of bf16, the alignment that cuBLASLt expects.
const ALIGNMENT: usize = 128;

/// fc8's outputs are padded to a multiple of it, so that each row begins at a multiple of 16 bytes.
const OUTPUT_MULTIPLE: usize = 8;

/// Where each tensor lies in the device's buffers of values, velocities and gradients, in the order of
/// [`crate::model::ParameterLayout`].
#[derive(Debug)]
pub struct DeviceLayout {
    layers: Vec<DeviceTensors>,
    len: usize,
}

#[derive(Clone, Debug)]
pub struct DeviceTensors {
    pub weight: Range<usize>,
    /// The biases, as many as the layer has outputs on the device.
    pub bias: Range<usize>,
    /// Both, with the zeros that pad them.
    pub all: Range<usize>,
    /// How the biases learn.
    pub bias_rule: BiasRule,
    order: Order,
    num_biases: usize,
}

/// From the border's order to the device's.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// (O, 3, kernel, kernel) to the filters of that form of the input: see [`place`].
    First { form: InputForm, kernel: usize },
    /// (rows, outer, inner) to (rows, inner, outer): (O, I, H W) to (O, H W, I).
    Transposed { outer: usize, inner: usize },
}

impl DeviceLayout {
    pub fn new(network: &Network) -> Self {
        let mut start = 0;
        let mut layers: Vec<_> = (0..network.layers.len())
            .rev()
            .map(|index| {
                let before = index.checked_sub(1).map(|before| &network.layers[before]);
                let tensors = DeviceTensors::new(&network.layers[index], before, start);
                start = tensors.all.end;
                tensors
            })
            .collect();
        layers.reverse();
        Self { layers, len: start }
    }

    /// conv1 to fc8.
    pub fn layers(&self) -> &[DeviceTensors] {
        &self.layers
    }

    /// Values of all tensors and their padding.
    pub fn num_values(&self) -> usize {
        self.len
    }

    /// Values of the largest layer.
    pub fn largest(&self) -> usize {
        self.layers.iter().map(|layer| layer.all.len()).max().unwrap_or(0)
    }
}

impl DeviceTensors {
    fn new(layer: &Layer, before: Option<&Layer>, start: usize) -> Self {
        let (weights, outputs, order) = match (&layer.block, before.map(|before| &before.block)) {
            (Block::Conv(conv), None) => {
                let (kernel, form) = (conv.kernel, InputForm::of(conv));
                (form.shape(conv, 1).kernel_values(), conv.out_channels, Order::First { form, kernel })
            }
            (Block::Conv(conv), Some(_)) => {
                let (outer, inner) = (conv.in_channels / conv.groups, conv.kernel * conv.kernel);
                (conv.out_channels * outer * inner, conv.out_channels, Order::Transposed { outer, inner })
            }
            (Block::Dense(dense), before) => {
                let outputs = padded_outputs(dense.outputs);
                let (outer, inner) = match before {
                    Some(Block::Conv(conv)) => (conv.out_channels, conv.out_side * conv.out_side),
                    _ => (dense.inputs, 1),
                };
                assert_eq!(outer * inner, dense.inputs, "inputs of {}", layer.name);
                (outputs * dense.inputs, outputs, Order::Transposed { outer, inner })
            }
        };
        let weight = start..start + weights;
        let bias_start = weight.end.next_multiple_of(ALIGNMENT);
        let bias = bias_start..bias_start + outputs;
        let all = start..bias.end.next_multiple_of(ALIGNMENT);
        Self { weight, bias, all, bias_rule: layer.bias_rule, order, num_biases: layer.block.num_biases() }
    }

    /// Writes the layer's tensors of the border, weights (O, I, H, W) and biases, into `device` (`all`'s values).
    pub fn write_device(&self, weights: &[f32], biases: &[f32], device: &mut [f32]) {
        device.fill(0.0);
        let (to_weights, to_biases) = device.split_at_mut(self.bias.start - self.all.start);
        match self.order {
            Order::First { form, kernel } => {
                for (at, value) in weights.iter().enumerate() {
                    to_weights[place(form, kernel, at)] = *value;
                }
            }
            Order::Transposed { outer, inner } => transpose(weights, outer, inner, to_weights),
        }
        to_biases[..biases.len()].copy_from_slice(biases);
    }

    /// Reads the layer's tensors of the border out of `device` (`all`'s values).
    pub fn read_device(&self, device: &[f32], weights: &mut [f32], biases: &mut [f32]) {
        let (from_weights, from_biases) = device.split_at(self.bias.start - self.all.start);
        match self.order {
            Order::First { form, kernel } => {
                for (at, value) in weights.iter_mut().enumerate() {
                    *value = from_weights[place(form, kernel, at)];
                }
            }
            Order::Transposed { outer, inner } => transpose(&from_weights[..weights.len()], inner, outer, weights),
        }
        biases.copy_from_slice(&from_biases[..self.num_biases]);
    }
}

/// Outputs of a dense layer on the device.
pub fn padded_outputs(outputs: usize) -> usize {
    outputs.next_multiple_of(OUTPUT_MULTIPLE)
}

/// Where weight `at` of (O, 3, kernel, kernel) lies in the first layer's filters on the device: (O, 3, 3, 64) after
/// space-to-depth, (O, kernel, kernel, 8) for padded pixels.
fn place(form: InputForm, kernel: usize, at: usize) -> usize {
    let (column, row) = (at % kernel, at / kernel % kernel);
    let (colour, output) = (at / (kernel * kernel) % COLOURS, at / (kernel * kernel * COLOURS));
    match form {
        InputForm::SpaceToDepth => {
            let block = (output * BLOCK_KERNEL + row / BLOCK) * BLOCK_KERNEL + column / BLOCK;
            block * BLOCK_CHANNELS + (row % BLOCK * BLOCK + column % BLOCK) * COLOURS + colour
        }
        InputForm::Padded => ((output * kernel + row) * kernel + column) * PADDED_CHANNELS + colour,
    }
}

/// (rows, outer, inner) to (rows, inner, outer).
fn transpose(from: &[f32], outer: usize, inner: usize, to: &mut [f32]) {
    for (from, to) in from.chunks_exact(outer * inner).zip(to.chunks_exact_mut(outer * inner)) {
        if inner == 1 || outer == 1 {
            to.copy_from_slice(from);
            continue;
        }
        for (index, to) in to.chunks_exact_mut(outer).enumerate() {
            for (to, from) in to.iter_mut().zip(from[index..].iter().step_by(inner)) {
                *to = *from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ParameterLayout;
    use crate::model::layers::Operation;
    use crate::recipe::alexnet;
    use crate::recipe::settings::ModelSettings;

    fn network(towers: u32) -> Network {
        let settings = ModelSettings { width: 0.1, towers, ..ModelSettings::default() };
        Network::new(&settings, 99, 10).expect("a network")
    }

    #[test]
    fn weights_come_back_as_they_went() {
        let mut strided = alexnet::layers(&ModelSettings { width: 0.1, ..ModelSettings::default() });
        let Operation::Conv(first) = &mut strided[0].operation else { panic!("a convolution") };
        (first.kernel_size, first.stride, first.padding) = (7, 2, 1);
        let strided = Network::from_layers(&strided, 99, 10).expect("a network");
        for network in [network(1), network(2), strided] {
            let (border_layout, device_layout) = (ParameterLayout::new(&network), DeviceLayout::new(&network));
            for (index, tensors) in device_layout.layers().iter().enumerate() {
                let place = &border_layout.layers()[index];
                let weights: Vec<_> = (0..place.weight.len()).map(|at| at as f32 + 1.0).collect();
                let biases: Vec<_> = (0..place.bias.len()).map(|at| -(at as f32) - 1.0).collect();
                let mut device = vec![f32::NAN; tensors.all.len()];
                tensors.write_device(&weights, &biases, &mut device);
                let (mut back, mut back_biases) = (vec![0.0; weights.len()], vec![0.0; biases.len()]);
                tensors.read_device(&device, &mut back, &mut back_biases);
                assert!(back == weights && back_biases == biases, "{}", network.layers[index].name);
                let num_set = device.iter().filter(|value| **value != 0.0).count();
                assert_eq!(num_set, weights.len() + biases.len(), "{}: all else is 0", network.layers[index].name);
            }
        }
    }

    #[test]
    fn tensors_lie_apart_and_aligned_in_the_order_of_the_backward_pass() {
        let layout = DeviceLayout::new(&network(1));
        let mut end = layout.num_values();
        for layer in layout.layers() {
            assert_eq!(layer.all.end, end);
            assert!([layer.weight.start, layer.bias.start, layer.all.start].iter().all(|at| at % ALIGNMENT == 0));
            assert!(layer.weight.end <= layer.bias.start && layer.bias.end <= layer.all.end);
            end = layer.all.start;
        }
        assert_eq!(end, 0);
    }

    #[test]
    fn a_tap_of_conv1_lies_in_its_block() {
        // Kernel 1, colour 2, row 5, column 10 of 11 x 11: block (1, 2), pixel (1, 2) in it.
        let at = ((COLOURS + 2) * 11 + 5) * 11 + 10;
        let block = (BLOCK_KERNEL + 1) * BLOCK_KERNEL + 2;
        assert_eq!(place(InputForm::SpaceToDepth, 11, at), block * BLOCK_CHANNELS + (4 + 2) * 3 + 2);
    }
}
