//! A dense block: product, bias, and for hidden layers ReLU and dropout; parallel over panels of the weights.

use rayon::prelude::*;

use super::conv_block::sum_rows;
use super::dropout::{DropoutDraw, dropout_evaluate, dropout_forward, relu_dropout_backward};
use super::panels::{LEFT, Panels, RIGHT, pack_columns, pack_rows, panels_values};
use super::product::{Destination, Onto, multiply_panels};
use super::real::Real;
use super::relu::relu_forward;
use super::wide::wide;
use super::workspace::{Activations, Room, Tensors, Workspace};
use crate::backend::Pass;
use crate::model;

/// Outputs that one task of the forward pass computes, and rows of weights whose gradients one task of the backward
/// pass computes: whole panels.
const PANEL_ROWS: usize = 96;
/// Inputs whose gradients one task computes.
const PANEL_COLUMNS: usize = 256;
/// Inputs that are summed at a time: their weights in a panel stay in the second-level cache.
const FORWARD_DEPTH: usize = 1024;
/// Outputs that are summed at a time in the gradient of the inputs: likewise.
const BACKWARD_DEPTH: usize = 256;

/// A block; the panels do not depend on the number of threads.
pub struct DenseBlock {
    inputs: usize,
    outputs: usize,
    dropout_before: Option<model::Dropout>,
    hidden: Option<model::Dropout>,
}

impl DenseBlock {
    pub fn new(block: &model::DenseBlock) -> Self {
        let model::DenseBlock { inputs, outputs, dropout_before, hidden } = *block;
        Self { inputs, outputs, dropout_before, hidden }
    }

    /// What batches of `batch_size` samples need.
    pub fn room(&self, batch_size: usize) -> Room {
        let forward = panels_values::<RIGHT>(batch_size, self.inputs);
        let weights = panels_values::<RIGHT>(self.inputs, batch_size);
        let outputs = self.outputs.next_multiple_of(PANEL_ROWS);
        Room {
            scratch: (PANEL_ROWS * batch_size.max(FORWARD_DEPTH)).max(PANEL_COLUMNS * BACKWARD_DEPTH),
            packed: forward.max(weights).max(panels_values::<LEFT>(batch_size, self.outputs)),
            staged: batch_size * outputs.max(self.inputs.next_multiple_of(PANEL_COLUMNS)),
        }
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
        let Workspace { workers, packed, staged } = workspace;
        let input = self.drop_inputs(pass, draw, input, staged);
        let packed = &mut packed[..panels_values::<RIGHT>(num_samples, self.inputs)];
        packed.par_chunks_exact_mut(RIGHT * self.inputs).enumerate().for_each(|(index, panel)| {
            let (panel, _) = panel.as_chunks_mut::<RIGHT>();
            let rows = &input[index * RIGHT * self.inputs..];
            wide!(pack_rows(rows, num_samples - index * RIGHT, self.inputs, panel));
        });
        let input = Panels::new(packed, num_samples, self.inputs);
        let weights = parameters.weights.par_chunks(PANEL_ROWS * self.inputs);
        let panels = weights.zip(panels(staged, num_samples, PANEL_ROWS, self.outputs));
        panels.with_max_len(1).for_each(|(weights, staged)| {
            self.forward_panel(input, num_samples, weights, staged, &mut workers.scratch());
        });
        let staged = &*staged;
        output.par_chunks_exact_mut(self.outputs).enumerate().for_each(|(sample, output)| {
            wide!(collect_columns(staged, num_samples, sample, output));
            wide!(add(parameters.biases, output));
            let Some(dropout) = &self.hidden else { return };
            wide!(relu_forward(output));
            drop_units(dropout, pass, draw, sample, output);
        });
    }

    /// The inputs that the product takes: in `staged` where dropout comes before it.
    fn drop_inputs<'a, T: Real>(&self, pass: Pass, draw: &DropoutDraw, input: &'a [T], staged: &'a mut [T]) -> &'a [T] {
        let Some(dropout) = &self.dropout_before else { return input };
        let staged = &mut staged[..input.len()];
        let samples = staged.par_chunks_exact_mut(self.inputs).zip(input.par_chunks_exact(self.inputs)).enumerate();
        samples.for_each(|(sample, (staged, input))| {
            staged.copy_from_slice(input);
            drop_units(dropout, pass, draw, sample, staged);
        });
        staged
    }

    /// staged (width, num_samples) from weights (width, inputs).
    fn forward_panel<T: Real>(
        &self,
        input: Panels<'_, T, RIGHT>,
        num_samples: usize,
        weights: &[T],
        staged: &mut [T],
        scratch: &mut [T],
    ) {
        let width = weights.len() / self.inputs;
        for start in (0..self.inputs).step_by(FORWARD_DEPTH) {
            let depth = FORWARD_DEPTH.min(self.inputs - start);
            for (row, panel) in (0..width).step_by(LEFT).zip(scratch.chunks_exact_mut(LEFT * depth)) {
                let (panel, _) = panel.as_chunks_mut::<LEFT>();
                wide!(pack_rows(&weights[row * self.inputs + start..], width - row, self.inputs, panel));
            }
            let product = Destination { values: &mut *staged, rows: width, columns: num_samples, stride: num_samples };
            let weights = Panels::new(scratch, width, depth);
            multiply_panels(weights, input.part(start, start + depth), product, Onto::nothing_at_first(start));
        }
    }

    /// The gradients of the weights, the biases and, where it is asked for, the input.
    pub fn backward<T: Real>(
        &self,
        workspace: &mut Workspace<T>,
        draw: &DropoutDraw,
        weights: &[T],
        activations: Activations<'_, T>,
        gradients: Tensors<&mut [T]>,
    ) {
        let Activations { input, output, output_gradient, input_gradient } = activations;
        if let Some(dropout) = &self.hidden {
            let samples = output_gradient.par_chunks_exact_mut(self.outputs).zip(output.par_chunks_exact(self.outputs));
            samples.for_each(|(gradient, output)| wide!(relu_dropout_backward(dropout, output, gradient)));
        }
        wide!(sum_rows(output_gradient, gradients.biases));
        self.weight_gradient(workspace, draw, input, output_gradient, gradients.weights);
        if let Some(input_gradient) = input_gradient {
            self.input_gradient(workspace, weights, output_gradient, input_gradient);
            if let Some(dropout) = &self.dropout_before {
                // Dropout multiplies by numbers that do not depend on its input, and the gradient by the same.
                let samples = input_gradient.par_chunks_exact_mut(self.inputs).enumerate();
                samples.for_each(|(sample, gradient)| drop_units(dropout, Pass::Train, draw, sample, gradient));
            }
        }
    }

    fn weight_gradient<T: Real>(
        &self,
        workspace: &mut Workspace<T>,
        draw: &DropoutDraw,
        input: &[T],
        gradient: &[T],
        weight_gradient: &mut [T],
    ) {
        let Workspace { workers, packed, staged } = workspace;
        let input = self.drop_inputs(Pass::Train, draw, input, staged);
        let num_samples = input.len() / self.inputs;
        let panels =
            packed[..panels_values::<RIGHT>(self.inputs, num_samples)].par_chunks_exact_mut(RIGHT * num_samples);
        panels.enumerate().for_each(|(index, panel)| {
            let (panel, _) = panel.as_chunks_mut::<RIGHT>();
            wide!(pack_columns(&input[index * RIGHT..], self.inputs - index * RIGHT, self.inputs, panel));
        });
        let input = Panels::new(packed, self.inputs, num_samples);
        let rows = weight_gradient.par_chunks_mut(PANEL_ROWS * self.inputs).enumerate();
        rows.with_max_len(1).for_each(|(index, values)| {
            let mut scratch = workers.scratch();
            let (first, height) = (index * PANEL_ROWS, values.len() / self.inputs);
            let panels = scratch.chunks_exact_mut(LEFT * num_samples);
            for (row, panel) in (0..height).step_by(LEFT).zip(panels) {
                let (panel, _) = panel.as_chunks_mut::<LEFT>();
                wide!(pack_columns(&gradient[first + row..], height - row, self.outputs, panel));
            }
            let gradient = Panels::new(&scratch, height, num_samples);
            for (row, gradient) in (0..height).step_by(LEFT).zip(gradient.each()) {
                // Panel by panel, so that the rows of the product are written from end to end.
                let values = &mut values[row * self.inputs..];
                let rows = LEFT.min(height - row);
                let product = Destination { values, rows, columns: self.inputs, stride: self.inputs };
                multiply_panels(gradient, input, product, Onto::Nothing);
            }
        });
    }

    fn input_gradient<T: Real>(
        &self,
        workspace: &mut Workspace<T>,
        weights: &[T],
        gradient: &[T],
        input_gradient: &mut [T],
    ) {
        let Workspace { workers, packed, staged } = workspace;
        let num_samples = gradient.len() / self.outputs;
        let packed = &mut packed[..panels_values::<LEFT>(num_samples, self.outputs)];
        packed.par_chunks_exact_mut(LEFT * self.outputs).enumerate().for_each(|(index, panel)| {
            let (panel, _) = panel.as_chunks_mut::<LEFT>();
            let rows = &gradient[index * LEFT * self.outputs..];
            wide!(pack_rows(rows, num_samples - index * LEFT, self.outputs, panel));
        });
        let gradient = Panels::new(packed, num_samples, self.outputs);
        let columns = panels(staged, num_samples, PANEL_COLUMNS, self.inputs).enumerate();
        columns.with_max_len(1).for_each(|(index, staged)| {
            self.input_gradient_panel(index * PANEL_COLUMNS, weights, gradient, staged, &mut workers.scratch());
        });
        let staged = &*staged;
        input_gradient.par_chunks_exact_mut(self.inputs).enumerate().for_each(|(sample, input_gradient)| {
            wide!(collect(staged, num_samples, PANEL_COLUMNS, sample, input_gradient));
        });
    }

    /// staged (num_samples, width): the gradients of PANEL_COLUMNS inputs at most, from `start`.
    fn input_gradient_panel<T: Real>(
        &self,
        start: usize,
        weights: &[T],
        gradient: Panels<'_, T, LEFT>,
        staged: &mut [T],
        scratch: &mut [T],
    ) {
        let width = PANEL_COLUMNS.min(self.inputs - start);
        let num_samples = staged.len() / PANEL_COLUMNS;
        for first in (0..self.outputs).step_by(BACKWARD_DEPTH) {
            let depth = BACKWARD_DEPTH.min(self.outputs - first);
            let weights = &weights[first * self.inputs + start..];
            let packed = &mut scratch[..panels_values::<RIGHT>(width, depth)];
            wide!(pack_strip(weights, width, self.inputs, depth, packed));
            let product = Destination { values: &mut *staged, rows: num_samples, columns: width, stride: width };
            let gradient = gradient.part(first, first + depth);
            multiply_panels(gradient, Panels::new(packed, width, depth), product, Onto::nothing_at_first(first));
        }
    }
}

/// Dropout of one sample's units, in place.
fn drop_units<T: Real>(dropout: &model::Dropout, pass: Pass, draw: &DropoutDraw, sample: usize, units: &mut [T]) {
    match pass {
        Pass::Train => dropout_forward(dropout, draw, sample, units),
        Pass::Eval => wide!(dropout_evaluate(dropout, units)),
    }
}

/// Panels of (depth, width), row by row, since neighbouring rows lie pages apart.
#[inline(always)]
fn pack_strip<T: Real>(weights: &[T], width: usize, stride: usize, depth: usize, packed: &mut [T]) {
    let (packed, _) = packed.as_chunks_mut::<RIGHT>();
    for row in 0..depth {
        let values = &weights[row * stride..][..width];
        for (index, part) in values.chunks(RIGHT).enumerate() {
            let to = &mut packed[index * depth + row];
            match part.first_chunk() {
                Some(part) => *to = *part,
                None => {
                    to.fill(T::ZERO);
                    to[..part.len()].copy_from_slice(part);
                }
            }
        }
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

/// One sample's row, from panels (width, num_samples) behind one another: together they are the whole, transposed.
#[inline(always)]
fn collect_columns<T: Real>(staged: &[T], num_samples: usize, sample: usize, row: &mut [T]) {
    for (to, column) in row.iter_mut().zip(staged.chunks_exact(num_samples)) {
        *to = column[sample];
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

    const NUM_SAMPLES: usize = 3;
    const DRAW: DropoutDraw = DropoutDraw { seed: 1, step: 2, layer: 5 };

    /// One panel and a narrow one, of the outputs and of the inputs.
    fn block(dropout_before: Option<model::Dropout>, hidden: Option<model::Dropout>) -> DenseBlock {
        let (inputs, outputs) = (PANEL_COLUMNS + 4, PANEL_ROWS + 8);
        DenseBlock::new(&model::DenseBlock { inputs, outputs, dropout_before, hidden })
    }

    fn hidden(probability: f32) -> Option<model::Dropout> {
        Some(model::Dropout { probability, train_scale: 1.5, eval_scale: 0.5 })
    }

    fn forward(block: &DenseBlock, pass: Pass, input: &[f64], weights: &[f64], biases: &[f64]) -> Vec<f64> {
        let mut output = vec![f64::NAN; NUM_SAMPLES * block.outputs];
        let mut workspace = Workspace::new(None, block.room(NUM_SAMPLES), f64::NAN);
        let pool = workspace.workers.pool();
        pool.install(|| {
            block.forward(&mut workspace, pass, &DRAW, Tensors { weights, biases }, input, &mut output);
        });
        output
    }

    #[test]
    fn a_dense_block_is_the_product_the_bias_and_relu() {
        let block = block(None, hidden(0.25));
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
    fn dropout_before_a_block_is_the_block_behind_dropout() {
        let (before, plain) = (block(hidden(0.25), None), block(None, None));
        let input = draws(NUM_SAMPLES * plain.inputs, 1);
        let (weights, biases) = (draws(plain.outputs * plain.inputs, 2), draws(plain.outputs, 3));
        for pass in [Pass::Train, Pass::Eval] {
            let mut dropped = input.clone();
            let samples = dropped.chunks_exact_mut(plain.inputs).enumerate();
            samples.for_each(|(sample, units)| drop_units(&hidden(0.25).unwrap(), pass, &DRAW, sample, units));
            let expected = forward(&plain, pass, &dropped, &weights, &biases);
            assert_eq!(forward(&before, pass, &input, &weights, &biases), expected);
        }
    }

    #[test]
    fn dense_blocks_agree_with_central_differences_for_a_given_mask() {
        let off = Some(model::Dropout::OFF);
        for (before, hidden) in
            [(None, None), (None, off), (None, hidden(0.4)), (hidden(0.4), None), (hidden(0.4), off)]
        {
            let block = block(before, hidden);
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
            let mut workspace = Workspace::new(None, block.room(NUM_SAMPLES), f64::NAN);
            let pool = workspace.workers.pool();
            pool.install(|| block.backward(&mut workspace, &DRAW, &weights, activations, gradients));
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
