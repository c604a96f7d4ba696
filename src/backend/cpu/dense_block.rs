//! A dense block: product, bias, and for hidden layers ReLU and dropout; parallel over panels of the weights.

use rayon::prelude::*;

use super::conv_block::sum_rows;
use super::dropout::{DropoutDraw, dropout_evaluate, dropout_forward, relu_dropout_backward};
use super::matrix::{Matrix, MatrixMut, Onto, multiply};
use super::real::Real;
use super::relu::relu_forward;
use super::wide::wide;
use super::workspace::{Activations, Tensors, Workspace};
use crate::backend::Pass;
use crate::model;

/// Outputs that one task of the forward pass computes, and rows of weights whose gradients one task of the backward pass
/// computes.
const PANEL_ROWS: usize = 64;
/// Inputs whose gradients one task computes.
const PANEL_COLUMNS: usize = 256;

/// A block; the panels do not depend on the number of threads.
pub struct DenseBlock {
    inputs: usize,
    outputs: usize,
    hidden: Option<model::Dropout>,
}

impl DenseBlock {
    /// The block.
    pub fn new(block: &model::DenseBlock) -> Self {
        Self { inputs: block.inputs, outputs: block.outputs, hidden: block.hidden }
    }

    /// Values that it needs of [`Workspace::staged`] for batches of `batch_size` samples.
    pub fn staged_values(&self, batch_size: usize) -> usize {
        let outputs = self.outputs.next_multiple_of(PANEL_ROWS);
        batch_size * outputs.max(self.inputs.next_multiple_of(PANEL_COLUMNS))
    }

    /// input (num_samples, inputs) to output (num_samples, outputs).
    pub fn forward<T: Real>(
        &self,
        workspace: &mut Workspace<T>,
        pass: Pass,
        draw: &DropoutDraw,
        parameters: Tensors<&[T]>,
        input: &[T],
        output: &mut [T],
    ) {
        let num_samples = input.len() / self.inputs;
        let input = Matrix::new(input, num_samples, self.inputs, self.inputs);
        let staged = panels(&mut workspace.staged, num_samples, PANEL_ROWS, self.outputs);
        let weights = parameters.weights.par_chunks(PANEL_ROWS * self.inputs);
        weights.zip(staged).with_max_len(1).for_each(|(weights, staged)| {
            let width = weights.len() / self.inputs;
            let weights = Matrix::new(weights, width, self.inputs, self.inputs);
            multiply(MatrixMut::new(staged, num_samples, width, width), input, weights.transposed(), Onto::Nothing);
        });
        let staged = &workspace.staged;
        output.par_chunks_exact_mut(self.outputs).enumerate().for_each(|(sample, output)| {
            wide!(collect(staged, num_samples, PANEL_ROWS, sample, output));
            wide!(add(parameters.biases, output));
            let Some(dropout) = &self.hidden else { return };
            wide!(relu_forward(output));
            match pass {
                Pass::Train => dropout_forward(dropout, draw, sample, output),
                Pass::Eval => wide!(dropout_evaluate(dropout, output)),
            }
        });
    }

    /// The gradients of the weights, the biases and, where it is asked for, the input.
    pub fn backward<T: Real>(
        &self,
        workspace: &mut Workspace<T>,
        weights: &[T],
        activations: Activations<'_, T>,
        gradients: Tensors<&mut [T]>,
    ) {
        let Activations { input, output, output_gradient, input_gradient } = activations;
        let num_samples = input.len() / self.inputs;
        if let Some(dropout) = &self.hidden {
            let samples = output_gradient.par_chunks_exact_mut(self.outputs).zip(output.par_chunks_exact(self.outputs));
            samples.for_each(|(gradient, output)| wide!(relu_dropout_backward(dropout, output, gradient)));
        }
        let gradient = &*output_gradient;
        wide!(sum_rows(gradient, gradients.biases));
        let input = Matrix::new(input, num_samples, self.inputs, self.inputs);
        let panels = gradients.weights.par_chunks_mut(PANEL_ROWS * self.inputs).enumerate();
        panels.with_max_len(1).for_each(|(panel, weights)| {
            let height = weights.len() / self.inputs;
            let gradient = Matrix::new(&gradient[panel * PANEL_ROWS..], num_samples, height, self.outputs);
            multiply(
                MatrixMut::new(weights, height, self.inputs, self.inputs),
                gradient.transposed(),
                input,
                Onto::Nothing,
            );
        });
        if let Some(input_gradient) = input_gradient {
            self.input_gradient(workspace, weights, gradient, input_gradient);
        }
    }

    fn input_gradient<T: Real>(
        &self,
        workspace: &mut Workspace<T>,
        weights: &[T],
        gradient: &[T],
        input_gradient: &mut [T],
    ) {
        let num_samples = gradient.len() / self.outputs;
        let gradient = Matrix::new(gradient, num_samples, self.outputs, self.outputs);
        let staged = panels(&mut workspace.staged, num_samples, PANEL_COLUMNS, self.inputs).enumerate();
        staged.with_max_len(1).for_each(|(panel, staged)| {
            let start = panel * PANEL_COLUMNS;
            let width = PANEL_COLUMNS.min(self.inputs - start);
            let weights = Matrix::new(&weights[start..], self.outputs, width, self.inputs);
            multiply(MatrixMut::new(staged, num_samples, width, width), gradient, weights, Onto::Nothing);
        });
        let staged = &workspace.staged;
        input_gradient.par_chunks_exact_mut(self.inputs).enumerate().for_each(|(sample, input_gradient)| {
            wide!(collect(staged, num_samples, PANEL_COLUMNS, sample, input_gradient));
        });
    }
}

/// The panels (num_samples, width) of a matrix (num_samples, columns), behind one another.
fn panels<T: Real>(
    staged: &mut [T],
    num_samples: usize,
    width: usize,
    columns: usize,
) -> impl IndexedParallelIterator<Item = &mut [T]> {
    staged.par_chunks_exact_mut(num_samples * width).take(columns.div_ceil(width))
}

/// One sample's row, from its parts in the panels; the last panel may be narrow.
#[inline(always)]
fn collect<T: Real>(staged: &[T], num_samples: usize, width: usize, sample: usize, row: &mut [T]) {
    for (part, panel) in row.chunks_mut(width).zip(staged.chunks_exact(num_samples * width)) {
        part.copy_from_slice(&panel[sample * part.len()..][..part.len()]);
    }
}

#[inline(always)]
fn add<T: Real>(biases: &[T], values: &mut [T]) {
    for (value, bias) in values.iter_mut().zip(biases) {
        *value += *bias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_close, assert_is_gradient, dot, draws};
    use crate::backend::cpu::workers::Workers;

    const NUM_SAMPLES: usize = 3;
    const DRAW: DropoutDraw = DropoutDraw { seed: 1, step: 2, layer: 5 };

    /// One panel and a narrow one, of the outputs and of the inputs.
    fn block(hidden: Option<model::Dropout>) -> DenseBlock {
        DenseBlock::new(&model::DenseBlock { inputs: PANEL_COLUMNS + 4, outputs: PANEL_ROWS + 8, hidden })
    }

    fn hidden(probability: f32) -> Option<model::Dropout> {
        Some(model::Dropout { probability, train_scale: 1.5, eval_scale: 0.5 })
    }

    fn workspace(block: &DenseBlock) -> Workspace<f64> {
        Workspace { workers: Workers::new(None, 0, f64::NAN), staged: vec![f64::NAN; block.staged_values(NUM_SAMPLES)] }
    }

    fn forward(block: &DenseBlock, pass: Pass, input: &[f64], weights: &[f64], biases: &[f64]) -> Vec<f64> {
        let mut output = vec![f64::NAN; NUM_SAMPLES * block.outputs];
        let mut workspace = workspace(block);
        let pool = workspace.workers.pool();
        pool.install(|| {
            block.forward(&mut workspace, pass, &DRAW, Tensors { weights, biases }, input, &mut output);
        });
        output
    }

    #[test]
    fn a_dense_block_is_the_product_the_bias_and_relu() {
        let block = block(hidden(0.25));
        let input = draws(NUM_SAMPLES * block.inputs, 1);
        let (weights, biases) = (draws(block.outputs * block.inputs, 2), draws(block.outputs, 3));
        let row = |values: &[f64], index: usize| values[index * block.inputs..][..block.inputs].to_vec();
        let expected: Vec<_> = (0..NUM_SAMPLES * block.outputs)
            .map(|at| (at / block.outputs, at % block.outputs))
            .map(|(sample, out)| dot(&row(&input, sample), &row(&weights, out)) + biases[out])
            .map(|value| 0.5 * value.max(0.0))
            .collect();
        assert_close("output", &forward(&block, Pass::Eval, &input, &weights, &biases), &expected);
    }

    #[test]
    fn dense_blocks_agree_with_central_differences_for_a_given_mask() {
        for hidden in
            [None, hidden(0.0).map(|d| model::Dropout { train_scale: 1.0, eval_scale: 1.0, ..d }), hidden(0.4)]
        {
            let block = block(hidden);
            let input = draws(NUM_SAMPLES * block.inputs, 1);
            let (weights, biases) = (draws(block.outputs * block.inputs, 2), draws(block.outputs, 3));
            let gradient = draws(NUM_SAMPLES * block.outputs, 4);
            let output = forward(&block, Pass::Train, &input, &weights, &biases);
            let mut by = [input.len(), weights.len(), biases.len()].map(|len| vec![f64::NAN; len]);
            let [by_input, by_weights, by_biases] = &mut by;
            let activations = Activations {
                input: &input,
                output: &output,
                output_gradient: &mut gradient.clone(),
                input_gradient: Some(by_input),
            };
            let gradients = Tensors { weights: &mut by_weights[..], biases: &mut by_biases[..] };
            let mut workspace = workspace(&block);
            let pool = workspace.workers.pool();
            pool.install(|| block.backward(&mut workspace, &weights, activations, gradients));
            let loss = |input: &[f64], weights: &[f64], biases: &[f64]| {
                dot(&forward(&block, Pass::Train, input, weights, biases), &gradient)
            };
            assert_is_gradient("biases", by_biases, &biases, |biases| loss(&input, &weights, biases));
            assert_some("input", by_input, &input, |input| loss(input, &weights, &biases));
            assert_some("weights", by_weights, &weights, |weights| loss(&input, weights, &biases));
        }
    }

    /// As [`assert_is_gradient`], of up to 101 values spread over all.
    fn assert_some(name: &str, gradient: &[f64], at: &[f64], loss: impl Fn(&[f64]) -> f64) {
        let chosen: Vec<_> = (0..=100).map(|index| index * (at.len() - 1) / 100).collect();
        let pick = |values: &[f64]| chosen.iter().map(|index| values[*index]).collect::<Vec<_>>();
        let mut moved = at.to_vec();
        assert_is_gradient(name, &pick(gradient), &pick(at), |values| {
            chosen.iter().zip(values).for_each(|(index, value)| moved[*index] = *value);
            loss(&moved)
        });
    }
}
