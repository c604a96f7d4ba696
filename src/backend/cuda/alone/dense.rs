//! kernels/dropout.cu and dense.cu.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::values::{column_sums, largest, reals, wide};
use crate::backend::cpu::dropout::{self, DropoutDraw};
use crate::backend::cuda::kernels::Scalars;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::Dropout;

const NUM_SAMPLES: usize = 3;

/// A step beyond 32 bits, of which the lower ones count.
const DRAW: DropoutDraw = DropoutDraw { seed: 0x1234_5678_9abc_def0, step: (1 << 32) + 9, layer: 6 };

pub fn dropout_forward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    // Units that are channels alone, as a dense layer's, and those that lie in planes.
    for (units, channels) in [(40, 40), (8 * 25, 8), (16 * 9, 16)] {
        for (probability, rectify) in [(0.25, false), (0.5, true)] {
            let dropout = Dropout { probability, train_scale: 1.0 / (1.0 - probability), eval_scale: 1.0 };
            let values = reals::<R>(NUM_SAMPLES * units, 1);
            let expected = wide(&dropped(&values, units, channels, rectify, &dropout));
            let scalars = on.upload(&[Scalars { step: DRAW.step, learning_rate: 0.0, num_valid: 3 }])?;
            let (input, mut apart, mut in_place) =
                (on.upload(&values)?, on.poisoned(values.len())?, on.upload(&values)?);
            for (from, to, manner) in [(Some(input.all()), &mut apart, ""), (None, &mut in_place, ", in place")] {
                on.kernels()?.dropout_forward(
                    &on.stream,
                    from,
                    &mut to.all_mut(),
                    scalars.all(),
                    DRAW.seed,
                    DRAW.layer,
                    &dropout,
                    NUM_SAMPLES,
                    units,
                    channels,
                    rectify,
                )?;
                let rectified = if rectify { " after ReLU" } else { "" };
                let name = format!("output of ({units} in {channels} channels), p {probability}{rectified}{manner}");
                let axes = [("n", NUM_SAMPLES), ("place", units / channels), ("c", channels)];
                outputs.push(name, &axes, wide(&on.read(to)?), expected.clone(), Tolerance::EXACT);
            }
        }
    }
    Ok(())
}

/// What the CPU leaves of values in (N, places, channels), which has them in (N, channels, places).
fn dropped<R: Real>(values: &[R], units: usize, channels: usize, rectify: bool, dropout: &Dropout) -> Vec<R> {
    let places = units / channels;
    let theirs = |at: usize| at / units * units + at % channels * places + at % units / channels;
    let mut turned = vec![0.0; values.len()];
    for (at, value) in values.iter().enumerate() {
        turned[theirs(at)] = if rectify { value.to_f32().max(0.0) } else { value.to_f32() };
    }
    for (sample, values) in turned.chunks_mut(units).enumerate() {
        dropout::dropout_forward(dropout, &DRAW, sample, values);
    }
    (0..values.len()).map(|at| R::from_f32(turned[theirs(at)])).collect()
}

pub fn relu_scale<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    let values = reals::<R>(8 * 300, 1);
    let (input, mut apart, mut in_place) = (on.upload(&values)?, on.poisoned(values.len())?, on.upload(&values)?);
    let expected: Vec<R> = values.iter().map(|value| R::from_f32(value.to_f32().max(0.0) * 0.3)).collect();
    for (from, to, manner) in [(Some(input.all()), &mut apart, ""), (None, &mut in_place, ", in place")] {
        on.kernels()?.relu_scale(&on.stream, from, &mut to.all_mut(), 0.3)?;
        let (name, axes) = (format!("output of ({}){manner}", values.len()), [("at", values.len())]);
        outputs.push(name, &axes, wide(&on.read(to)?), wide(&expected), Tolerance::EXACT);
    }
    Ok(())
}

pub fn dense_backward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    // A product with 2 is exact.
    let dropout = Dropout { probability: 0.5, train_scale: 2.0, eval_scale: 1.0 };
    for (num_samples, units) in [(1, 8), (3, 40), (200, 264)] {
        let (output, before) = (reals::<R>(num_samples * units, 1), reals::<R>(num_samples * units, 2));
        let (on_device, mut gradient) = (on.upload(&output)?, on.upload(&before)?);
        let (mut rectified, mut alone) = (on.poisoned::<R>(units)?, on.poisoned::<R>(units)?);
        // The last layer's first: it leaves the gradient as it is.
        on.kernels()?.sum_samples(&on.stream, gradient.all(), &mut alone.all_mut(), num_samples, units)?;
        on.kernels()?.dense_backward(
            &on.stream,
            on_device.all(),
            dropout.train_scale,
            &mut gradient.all_mut(),
            &mut rectified.all_mut(),
            num_samples,
            units,
        )?;
        let (of, axes) = (format!("of ({num_samples}, {units})"), [("n", num_samples), ("unit", units)]);
        let mut sums = |sums: Vec<R>, terms: &[f64], of: &str| {
            let tolerance = Tolerance::sum::<R>(num_samples, largest(terms));
            outputs.push(format!("bias gradient {of}"), &axes[1..], wide(&sums), column_sums(terms, units), tolerance);
        };
        let mut expected = wide(&before);
        sums(on.read(&alone)?, &expected, &format!("{of}, without ReLU"));
        dropout::relu_dropout_backward(&dropout, &wide(&output), &mut expected);
        sums(on.read(&rectified)?, &expected, &of);
        let gradient = wide(&on.read(&gradient)?);
        outputs.push(format!("gradient {of}"), &axes, gradient, expected, Tolerance::EXACT);
    }
    Ok(())
}
