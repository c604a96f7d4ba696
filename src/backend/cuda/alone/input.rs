//! kernels/input.cu, and mask_taps, which is of its blocks.

use half::f16;

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::values::{bits, draws, reals, wide};
use crate::backend::compared::Axis;
use crate::backend::cuda::kernels::Scalars;
use crate::backend::cuda::real::Real;
use crate::error::Result;

/// Images (N, 3, canvas, canvas), of which the first `num_valid` count.
struct Images {
    values: Vec<f16>,
    num_samples: usize,
    num_valid: usize,
    canvas: usize,
}

impl Images {
    fn new(num_samples: usize, num_valid: usize, canvas: usize) -> Self {
        let values = draws(num_samples * 3 * canvas * canvas, 1).into_iter().map(f16::from_f32).collect();
        Self { values, num_samples, num_valid, canvas }
    }

    /// All 65,536 half numbers, in one image of 3 x 148 x 148 values.
    fn of_every_half_number() -> Self {
        let canvas = 148;
        let values = (0..3 * canvas * canvas).map(|at| f16::from_bits(at as u16)).collect();
        Self { values, num_samples: 1, num_valid: 1, canvas }
    }

    fn scalars(&self) -> Scalars {
        Scalars { step: 3, learning_rate: 0.5, num_valid: self.num_valid as u32 }
    }

    /// The colour of a pixel, 0 beyond the canvas and in samples that do not count.
    fn at<R: Real>(&self, sample: usize, colour: usize, y: usize, x: usize) -> R {
        let is_inside = sample < self.num_valid && y < self.canvas && x < self.canvas;
        let at = ((sample * 3 + colour) * self.canvas + y) * self.canvas + x;
        R::from_f32(if is_inside { self.values[at].to_f32() } else { 0.0 })
    }

    /// By value, and where that shows more, by their bits: of 0 and -0.
    fn push<R: Real>(&self, outputs: &mut Outputs, axes: &[Axis], ours: &[R], theirs: &[R]) {
        let of = format!("of ({}, 3, {canvas}, {canvas})", self.num_samples, canvas = self.canvas);
        outputs.push(format!("output {of}"), axes, wide(ours), wide(theirs), Tolerance::EXACT);
        outputs.push(format!("bits {of}"), axes, bits(ours), bits(theirs), Tolerance::EXACT);
    }
}

pub fn arrange_input<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    // The last is more than one block in a row.
    let images = [Images::new(2, 1, 227), Images::new(3, 3, 67), Images::new(1, 1, 300)];
    for images in images.into_iter().chain([Images::of_every_half_number()]) {
        let Images { num_samples, canvas, .. } = images;
        let side = (canvas - 11) / 4 + 3;
        let (input, scalars) = (on.upload(&images.values)?, on.upload(&[images.scalars()])?);
        let mut output = on.poisoned::<R>(num_samples * side * side * 64)?;
        let to = &mut output.all_mut();
        on.kernels()?.arrange_input(&on.stream, input.all(), to, scalars.all(), num_samples, canvas, side)?;
        let expected = (0..output.len()).map(|at| {
            let (channel, x, y, sample) = (at % 64, at / 64 % side, at / 64 / side % side, at / 64 / side / side);
            let (dy, dx, colour) = (channel / 12, channel / 3 % 4, channel % 3);
            if channel < 48 { images.at(sample, colour, 4 * y + dy, 4 * x + dx) } else { R::from_f32(0.0) }
        });
        let axes = [("n", num_samples), ("y", side), ("x", side), ("c", 64)];
        images.push(outputs, &axes, &on.read(&output)?, &expected.collect::<Vec<R>>());
    }
    Ok(())
}

pub fn pad_input<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for images in [Images::new(3, 2, 19), Images::of_every_half_number()] {
        let Images { num_samples, canvas, .. } = images;
        let (input, scalars) = (on.upload(&images.values)?, on.upload(&[images.scalars()])?);
        let mut output = on.poisoned::<R>(num_samples * canvas * canvas * 8)?;
        let to = &mut output.all_mut();
        on.kernels()?.pad_input(&on.stream, input.all(), to, scalars.all(), num_samples, canvas)?;
        let expected = (0..output.len()).map(|at| {
            let (channel, x, y, sample) = (at % 8, at / 8 % canvas, at / 8 / canvas % canvas, at / 8 / canvas / canvas);
            if channel < 3 { images.at(sample, channel, y, x) } else { R::from_f32(0.0) }
        });
        let axes = [("n", num_samples), ("y", canvas), ("x", canvas), ("c", 8)];
        images.push(outputs, &axes, &on.read(&output)?, &expected.collect::<Vec<R>>());
    }
    Ok(())
}

pub fn mask_taps<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    let out_channels = 24;
    let before = reals::<R>(out_channels * 9 * 64, 1);
    for kernel_size in [7, 11, 12] {
        let mut gradient = on.upload(&before)?;
        on.kernels()?.mask_taps(&on.stream, &mut gradient.all_mut(), out_channels, kernel_size)?;
        let expected = before.iter().enumerate().map(|(at, value)| {
            let (channel, column, row) = (at % 64, at / 64 % 3, at / 64 / 3 % 3);
            let (y, x) = (row * 4 + channel / 12, column * 4 + channel / 3 % 4);
            let is_kept = channel < 48 && y < kernel_size && x < kernel_size;
            if is_kept { *value } else { R::from_f32(0.0) }
        });
        let (name, axes) = (
            format!("weight gradient of {kernel_size} x {kernel_size} taps"),
            [("output", out_channels), ("y", 3), ("x", 3), ("c", 64)],
        );
        let expected = wide(&expected.collect::<Vec<R>>());
        outputs.push(name, &axes, wide(&on.read(&gradient)?), expected, Tolerance::EXACT);
    }
    Ok(())
}
