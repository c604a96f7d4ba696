//! kernels/dropout.cu and dense.cu.

use half::bf16;

use super::super::dense::threshold;
use super::super::{Scalars, int, shapes};
use super::host::run;
use super::{Tolerance, assert_close, in_any_order, poisoned, reals, rounded, wide};
use crate::backend::cpu::dropout;
use crate::backend::cpu::dropout::DropoutDraw;
use crate::backend::cuda::real::Real;
use crate::model::Dropout;

fn units_are_dropped_as_on_the_cpu<R: Real>(probability: f32, units: usize, channels: usize, rectify: bool) {
    let (num_samples, layer) = (3, 6);
    // A step beyond 32 bits, of which the lower ones count.
    let draw = DropoutDraw { seed: 0x1234_5678_9abc_def0, step: (1 << 32) + 9, layer };
    let scalars = Scalars { step: draw.step, learning_rate: 0.0, num_valid: 3 };
    let dropout = Dropout { probability, train_scale: 1.0 / (1.0 - probability), eval_scale: 1.0 };
    let values = reals::<R>(num_samples * units, 1);
    let name = format!("{}, {probability}", R::DEFINITION);
    let dropped = in_any_order(&name, |order| {
        let mut dropped = poisoned::<R>(values.len());
        run!(
            R,
            "dropout_forward",
            shapes::octets(values.len()),
            order,
            [
                values.as_ptr(),
                dropped.as_mut_ptr(),
                &raw const scalars,
                draw.seed,
                layer as u32,
                threshold(&dropout),
                dropout.train_scale,
                int(num_samples),
                int(units),
                int(channels),
                i32::from(rectify),
            ]
        );
        dropped
    });
    // From (positions, channels) to the CPU's (channels, positions).
    let positions = units / channels;
    let place = |at: usize| at / units * units + at % positions * channels + at % units / positions;
    let mut expected: Vec<f32> = (0..values.len()).map(|at| values[place(at)].to_f32()).collect();
    expected.iter_mut().filter(|value| rectify && **value < 0.0).for_each(|value| *value = 0.0);
    for (sample, values) in expected.chunks_mut(units).enumerate() {
        dropout::dropout_forward(&dropout, &draw, sample, values);
    }
    let expected: Vec<R> = expected.into_iter().map(R::from_f32).collect();
    let dropped: Vec<R> = (0..values.len()).map(|at| dropped[place(at)]).collect();
    assert_eq!(wide(&dropped), wide(&expected), "{name}");
}

#[test]
fn the_same_units_are_dropped_as_on_the_cpu() {
    for (units, channels) in [(40, 40), (8 * 25, 8), (16 * 9, 16)] {
        units_are_dropped_as_on_the_cpu::<bf16>(0.25, units, channels, false);
        units_are_dropped_as_on_the_cpu::<f32>(0.5, units, channels, true);
    }
}

#[test]
fn relu_scale_rectifies_and_multiplies() {
    let values = reals::<bf16>(8 * 300, 1);
    let mut scaled = poisoned::<bf16>(values.len());
    run!(
        bf16,
        "relu_scale",
        shapes::octets(values.len()),
        2,
        [values.as_ptr(), scaled.as_mut_ptr(), 0.3_f32, values.len() as i64]
    );
    let expected: Vec<_> = values.iter().map(|value| bf16::from_f32(value.to_f32().max(0.0) * 0.3)).collect();
    assert_eq!(scaled, expected);
}

fn dense_backward_is_the_cpus<R: Real>(num_samples: usize, units: usize, rectify: i32) {
    let name = format!("{} of ({num_samples}, {units}), rectify {rectify}", R::DEFINITION);
    let dropout = Dropout { probability: 0.5, train_scale: 2.0, eval_scale: 1.0 };
    let (output, gradient) = (reals::<R>(num_samples * units, 1), reals::<R>(num_samples * units, 2));
    let run = |order| {
        let (mut gradient, mut bias_gradient) = (gradient.clone(), poisoned::<R>(units));
        run!(
            R,
            "dense_backward",
            shapes::dense_backward(units),
            order,
            [
                if rectify == 1 { output.as_ptr() } else { std::ptr::null() },
                gradient.as_mut_ptr(),
                bias_gradient.as_mut_ptr(),
                int(num_samples),
                int(units),
                dropout.train_scale,
                rectify,
            ]
        );
        (gradient, bias_gradient)
    };
    let mut expected = wide(&gradient);
    if rectify == 1 {
        dropout::relu_dropout_backward(&dropout, &wide(&output), &mut expected);
    }
    // A product with 2 is exact.
    assert_eq!(wide(&in_any_order(&name, |order| run(order).0)), expected, "{name}");
    let sums: Vec<f64> = (0..units).map(|unit| expected.iter().skip(unit).step_by(units).sum()).collect();
    // f32's rounding in sums of up to 200 values.
    let absolute = 200_f64.sqrt() * rounded::<f32>().absolute;
    let tolerance = Tolerance { relative: rounded::<R>().relative, absolute };
    assert_close(&name, &wide(&in_any_order(&name, |order| run(order).1)), &sums, tolerance);
}

#[test]
fn dense_backward_clears_what_relu_and_dropout_cleared_and_sums_the_bias() {
    for (num_samples, units) in [(1, 8), (3, 40), (200, 264)] {
        for rectify in [0, 1] {
            dense_backward_is_the_cpus::<bf16>(num_samples, units, rectify);
            dense_backward_is_the_cpus::<f32>(num_samples, units, rectify);
        }
    }
}
