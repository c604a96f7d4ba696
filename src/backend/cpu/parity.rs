//! Every operation against PyTorch's numbers in f64, which `tests/reference/make_reference.py` wrote.
//!
//! `tests/cpu_backend/reference.rs` compares the same code in f32 with PyTorch, over whole steps.

use std::path::Path;

use safetensors::SafeTensors;

use super::conv_block::ConvBlock;
use super::convolution::tests::block;
use super::dense_block::DenseBlock;
use super::dropout::DropoutDraw;
use super::loss::{softmax_cross_entropy, softmax_cross_entropy_backward};
use super::lrn::{self, lrn_backward, lrn_forward};
use super::pool::{self, pool_backward, pool_forward_with_argmax};
use super::relu::{relu_backward, relu_forward};
use super::testing::assert_close;
use super::workspace::{Activations, Tensors, Workspace};
use crate::backend::Pass;
use crate::model::{self, Lrn, Pool};

/// The recorded tensors of one operation.
struct Recorded {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Recorded {
    fn open(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/data/operations.safetensors");
        Self { name, bytes: std::fs::read(path).unwrap() }
    }

    fn values(&self, part: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(&format!("{}.{part}", self.name)).unwrap();
        tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    fn assert_agrees(&self, part: &str, values: &[f64]) {
        assert_close(&format!("{}.{part}", self.name), values, &self.values(part));
    }
}

fn assert_convolution_agrees(name: &'static str, block: &model::ConvBlock) {
    let file = Recorded::open(name);
    let mut block = ConvBlock::new(block, 2);
    let (input, weights) = (file.values("input0"), file.values("input1"));
    let (mut output, mut output_gradient) = (file.values("output"), file.values("output.gradient"));
    let mut workspace = Workspace::new(None, block.room(), f64::NAN);
    let (mut by_input, mut by_weights) = (vec![f64::NAN; input.len()], vec![f64::NAN; weights.len()]);
    workspace.workers.pool().install(|| {
        let parameters = Tensors { weights: &weights[..], biases: &[0.0; 6][..] };
        block.forward(&mut workspace, Pass::Train, 2, parameters, &input, &mut output);
        let activations = Activations {
            input: &input,
            output: &output,
            output_gradient: &mut output_gradient,
            input_gradient: Some(&mut by_input),
        };
        let gradients = Tensors { weights: &mut by_weights[..], biases: &mut [0.0; 6][..] };
        block.backward(&mut workspace, 2, &weights, activations, gradients);
    });
    file.assert_agrees("output", &output);
    file.assert_agrees("input0.gradient", &by_input);
    file.assert_agrees("input1.gradient", &by_weights);
}

#[test]
fn convolutions_agree_with_pytorch() {
    assert_convolution_agrees("conv", &block(7, 3, 1, 1, 1));
    assert_convolution_agrees("conv-groups", &block(7, 5, 1, 2, 2));
    assert_convolution_agrees("conv-stride", &block(19, 11, 4, 0, 1));
}

#[test]
fn relu_agrees_with_pytorch() {
    let file = Recorded::open("relu");
    let (mut output, mut gradient) = (file.values("input0"), file.values("output.gradient"));
    relu_forward(&mut output);
    relu_backward(&output, &mut gradient);
    file.assert_agrees("output", &output);
    file.assert_agrees("input0.gradient", &gradient);
}

#[test]
fn normalisation_agrees_with_pytorch() {
    let lrn = Lrn { k: 2.0, n: 5, alpha: 0.02, beta: 0.75 };
    let half = Lrn { k: 1.0, n: 3, alpha: 0.25, beta: 0.5 };
    for (name, lrn) in [("lrn", lrn), ("lrn-paper", Lrn { alpha: 1e-4, ..lrn }), ("lrn-half", half)] {
        let file = Recorded::open(name);
        let (input, gradient) = (file.values("input0"), file.values("output.gradient"));
        let (mut output, mut backward) = (vec![f64::NAN; input.len()], vec![f64::NAN; input.len()]);
        let mut scratch = vec![f64::NAN; lrn::scratch_values(9)];
        for image in 0..2 {
            let at = image * 9 * 25..(image + 1) * 9 * 25;
            lrn_forward(&lrn, 9, &input[at.clone()], &mut output[at.clone()], &mut scratch);
            lrn_backward(&lrn, 9, &input[at.clone()], &gradient[at.clone()], &mut backward[at], &mut scratch);
        }
        file.assert_agrees("output", &output);
        file.assert_agrees("input0.gradient", &backward);
    }
}

#[test]
fn pooling_agrees_with_pytorch_also_where_windows_have_several_maxima() {
    for (name, in_side) in [("pool", 8), ("pool-ties", 9)] {
        let file = Recorded::open(name);
        let (input, gradient) = (file.values("input0"), file.values("output.gradient"));
        let pool = Pool { window: 3, stride: 2 };
        let (mut output, mut backward) = (vec![f64::NAN; gradient.len()], vec![f64::NAN; input.len()]);
        let mut scratch = vec![f64::NAN; pool::scratch_values(&pool, in_side)];
        let mut argmax = output.clone();
        pool_forward_with_argmax(&pool, in_side, &input, &mut output, &mut argmax, &mut scratch);
        pool_backward(input.len() / (in_side * in_side), &argmax, &gradient, &mut backward);
        file.assert_agrees("output", &output);
        file.assert_agrees("input0.gradient", &backward);
    }
}

#[test]
fn dense_products_agree_with_pytorch() {
    let file = Recorded::open("dense");
    let (input, weights, mut gradient) = (file.values("input0"), file.values("input1"), file.values("output.gradient"));
    let block = DenseBlock::new(&model::DenseBlock { inputs: 10, outputs: 7, dropout_before: None, hidden: None });
    let mut workspace = Workspace::new(None, block.room(3), f64::NAN);
    let [mut output, mut by_input, mut by_weights] = [21, 30, 70].map(|len| vec![f64::NAN; len]);
    workspace.workers.pool().install(|| {
        let draw = DropoutDraw { seed: 0, step: 0, layer: 7 };
        let parameters = Tensors { weights: &weights[..], biases: &[0.0; 7][..] };
        block.forward(&mut workspace, Pass::Train, &draw, parameters, &input, &mut output);
        let activations = Activations {
            input: &input,
            output: &output,
            output_gradient: &mut gradient,
            input_gradient: Some(&mut by_input),
        };
        let gradients = Tensors { weights: &mut by_weights[..], biases: &mut [0.0; 7][..] };
        block.backward(&mut workspace, &draw, &weights, activations, gradients);
    });
    file.assert_agrees("output", &output);
    file.assert_agrees("input0.gradient", &by_input);
    file.assert_agrees("input1.gradient", &by_weights);
}

#[test]
fn softmax_and_cross_entropy_agree_with_pytorch() {
    let file = Recorded::open("loss");
    let logits = file.values("input0");
    let mut gradient = vec![f64::NAN; logits.len()];
    let samples = logits.chunks(6).zip(gradient.chunks_mut(6)).zip([1, 5, 0]);
    let losses = samples.map(|((logits, gradient), label)| {
        let sample = softmax_cross_entropy(logits, label, gradient);
        softmax_cross_entropy_backward(label, 3, 0.0, gradient);
        sample.loss
    });
    let loss = losses.sum::<f64>() / 3.0;
    file.assert_agrees("output", &[loss]);
    file.assert_agrees("input0.gradient", &gradient);
}
