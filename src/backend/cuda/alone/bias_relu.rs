//! kernels/bias_relu.cu.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::values::{column_sums, largest, reals, wide};
use crate::backend::cuda::kernels::num_bias_partials;
use crate::backend::cuda::real::Real;
use crate::error::Result;

/// Rows and channels: of one octet, of a part of a block, of conv3's, of more than a block takes beside one another.
const SHAPES: [(usize, usize); 4] = [(1, 8), (300, 24), (77, 384), (19, 520)];

pub fn bias_relu_forward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for (rows, channels) in SHAPES {
        let (before, bias) = (reals::<R>(rows * channels, 1), reals::<R>(channels, 2));
        let (mut values, on_device) = (on.upload(&before)?, on.upload(&bias)?);
        on.kernels()?.bias_relu_forward(&on.stream, &mut values.all_mut(), on_device.all(), rows, channels)?;
        let biases = bias.iter().cycle();
        let sums = before.iter().zip(biases).map(|(value, bias)| (value.to_f32() + bias.to_f32()).max(0.0));
        let expected: Vec<R> = sums.map(R::from_f32).collect();
        let (name, axes) = (format!("output of ({rows}, {channels})"), [("row", rows), ("c", channels)]);
        outputs.push(name, &axes, wide(&on.read(&values)?), wide(&expected), Tolerance::EXACT);
    }
    Ok(())
}

pub fn bias_relu_backward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for (rows, channels) in SHAPES {
        let (output, before) = (reals::<R>(rows * channels, 1), reals::<R>(rows * channels, 2));
        let num_partials = num_bias_partials(rows, channels);
        let (on_device, mut gradient) = (on.upload(&output)?, on.upload(&before)?);
        let mut partials = on.poisoned::<f32>(num_partials * channels)?;
        let (to, sums) = (&mut gradient.all_mut(), &mut partials.all_mut());
        on.kernels()?.bias_relu_backward(&on.stream, on_device.all(), to, sums, rows, channels)?;
        let kept = |(gradient, output): (f64, f64)| if output > 0.0 { gradient } else { 0.0 };
        let expected: Vec<_> = wide(&before).into_iter().zip(wide(&output)).map(kept).collect();
        let sums = column_sums(&wide(&on.read(&partials)?), channels);
        let of_sums = Tolerance::sum::<f32>(rows, largest(&expected));
        let (of, axes) = (format!("of ({rows}, {channels})"), [("row", rows), ("c", channels)]);
        outputs.push(format!("bias gradient {of}"), &axes[1..], sums, column_sums(&expected, channels), of_sums);
        let gradient = wide(&on.read(&gradient)?);
        outputs.push(format!("gradient {of}"), &axes, gradient, expected, Tolerance::EXACT);
    }
    Ok(())
}

pub fn sum_bias_partials<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    // Fewer and more than a block's rows; the last is the most that there are.
    for (num_partials, channels) in [(1, 8), (31, 24), (70, 384), (1056, 40)] {
        let values = reals::<f32>(num_partials * channels, 1);
        let (partials, mut sums) = (on.upload(&values)?, on.poisoned::<R>(channels)?);
        let to = &mut sums.all_mut();
        on.kernels()?.sum_bias_partials(&on.stream, partials.all(), to, num_partials, channels)?;
        let tolerance = Tolerance::sum::<R>(num_partials, largest(&wide(&values)));
        let (sums, expected) = (wide(&on.read(&sums)?), column_sums(&wide(&values), channels));
        let name = format!("bias gradient of ({num_partials}, {channels})");
        outputs.push(name, &[("c", channels)], sums, expected, tolerance);
    }
    Ok(())
}
