//! kernels/conv_tail_forward.cu and conv_tail_backward.cu: one case for each of their four kernels.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::tail_input::{LRN, OTHER_LRNS, POOL, SHAPES, TailInput};
use super::values::{column_sums, largest, wide};
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{Lrn, Tail};

/// The paper's.
const PAPER: Lrn = Lrn { alpha: 1e-4, ..LRN };

fn relu_first(lrn: Lrn) -> [Tail; 3] {
    [Tail::Relu, Tail::Lrn(lrn), POOL]
}

fn relu_last(lrn: Lrn) -> [Tail; 3] {
    [Tail::Lrn(lrn), POOL, Tail::Relu]
}

const NO_LRN: [Tail; 2] = [Tail::Relu, POOL];

pub fn conv_tail_forward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    forward_on_all(on, outputs, &relu_first(LRN))?;
    // conv1's and conv2's.
    for shape in [(1, 96, 55), (1, 256, 27)] {
        forward(on, outputs, &TailInput::new(shape, &relu_first(PAPER)))?;
    }
    Ok(())
}

pub fn conv_tail_forward_relu_last<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    forward_on_all(on, outputs, &relu_last(LRN))
}

pub fn conv_tail_forward_no_lrn<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    forward_on_all(on, outputs, &NO_LRN)
}

pub fn conv_tail_forward_any_lrn<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for lrn in OTHER_LRNS {
        forward_on_all(on, outputs, &relu_first(lrn))?;
        forward_on_all(on, outputs, &relu_last(lrn))?;
    }
    Ok(())
}

pub fn conv_tail_backward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    backward_on_all(on, outputs, &relu_first(LRN))?;
    for shape in [(1, 96, 55), (1, 256, 27)] {
        backward(on, outputs, &TailInput::new(shape, &relu_first(PAPER)))?;
    }
    Ok(())
}

pub fn conv_tail_backward_relu_last<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    backward_on_all(on, outputs, &relu_last(LRN))
}

pub fn conv_tail_backward_no_lrn<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    backward_on_all(on, outputs, &NO_LRN)
}

pub fn conv_tail_backward_any_lrn<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for lrn in OTHER_LRNS {
        backward_on_all(on, outputs, &relu_first(lrn))?;
        backward_on_all(on, outputs, &relu_last(lrn))?;
    }
    Ok(())
}

fn forward_on_all<R: Real>(on: &Fixture<R>, outputs: &mut Outputs, operations: &[Tail]) -> Result<()> {
    for shape in SHAPES {
        forward(on, outputs, &TailInput::new(shape, operations))?;
    }
    // Here the argmax is one place alone, not any of those whose values are as good as equal.
    for (what, input) in
        [("equal values", TailInput::with_equal_values(operations)), ("NaN", TailInput::with_nan(operations))]
    {
        let (_, argmax) = forward(on, outputs, &input)?;
        let [argmax, expected] = [argmax, input.expected().argmax].map(|places| places.into_iter().map(f64::from));
        let (argmax, expected) = (argmax.collect(), expected.collect());
        let name = format!("argmax of {what}, {}", input.name());
        outputs.push(name, &input.out_axes(), argmax, expected, Tolerance::EXACT);
    }
    Ok(())
}

/// Output and argmax.
fn forward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs, input: &TailInput<R>) -> Result<(Vec<R>, Vec<u8>)> {
    let (convolved, bias) = (on.upload(&input.convolved)?, on.upload(&input.bias)?);
    let mut output = on.poisoned::<R>(input.output_gradient.len())?;
    let mut argmax = on.poisoned::<u8>(output.len())?;
    on.kernels()?.conv_tail_forward(
        &on.stream,
        convolved.all(),
        bias.all(),
        &mut output.all_mut(),
        &mut argmax.all_mut(),
        input.num_samples,
        &input.tail,
    )?;
    let (output, argmax) = (on.read(&output)?, on.read(&argmax)?);
    let (name, axes, expected) = (input.name(), input.out_axes(), input.expected());
    let tolerance = Tolerance::rounded::<R>(&expected.output);
    let picked = input.picked(&argmax, &expected.before_pooling);
    outputs.push(format!("value at argmax {name}"), &axes, picked, expected.output.clone(), tolerance);
    outputs.push(format!("output {name}"), &axes, wide(&output), expected.output, tolerance);
    Ok((output, argmax))
}

fn backward_on_all<R: Real>(on: &Fixture<R>, outputs: &mut Outputs, operations: &[Tail]) -> Result<()> {
    SHAPES.into_iter().try_for_each(|shape| backward(on, outputs, &TailInput::new(shape, operations)))
}

fn backward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs, input: &TailInput<R>) -> Result<()> {
    let (expected, channels) = (input.expected(), input.channels);
    let (mut convolved, bias) = (on.upload(&input.convolved)?, on.upload(&input.bias)?);
    let (mut output_gradient, argmax) = (on.upload(&input.output_gradient)?, on.upload(&expected.argmax)?);
    let mut partials = on.poisoned::<f32>(input.tail.num_partials(input.num_samples) * channels)?;
    on.kernels()?.conv_tail_backward(
        &on.stream,
        &mut convolved.all_mut(),
        bias.all(),
        &mut output_gradient.all_mut(),
        argmax.all(),
        &mut partials.all_mut(),
        input.num_samples,
        &input.tail,
    )?;
    let (name, num_pixels) = (input.name(), expected.gradient.len() / channels);
    let sums = column_sums(&wide(&on.read(&partials)?), channels);
    let expected_sums = column_sums(&expected.gradient, channels);
    let of_sums = Tolerance::sum::<f32>(num_pixels, largest(&expected.gradient));
    let (gradient, tolerance) = (wide(&on.read(&convolved)?), Tolerance::rounded::<R>(&expected.gradient));
    outputs.push(format!("gradient {name}"), &input.in_axes(), gradient, expected.gradient, tolerance);
    outputs.push(format!("bias gradient {name}"), &[("c", channels)], sums, expected_sums, of_sums);
    Ok(())
}
