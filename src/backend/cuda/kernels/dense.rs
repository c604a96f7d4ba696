//! Launches of kernels/dropout.cu and dense.cu.

use super::{Kernels, Scalars, assert_len, int, launch, shapes};
use crate::backend::cuda::driver::{Slice, SliceMut, Stream};
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::Dropout;

/// What a unit's random word must reach to be kept: a unit is dropped with the probability.
pub(super) fn threshold(dropout: &Dropout) -> u64 {
    (f64::from(dropout.probability) * 4_294_967_296.0).ceil() as u64
}

impl<R: Real> Kernels<R> {
    /// input to output, both (num_samples, units / channels, channels): some units dropped, the others multiplied by
    /// the training scale; with `rectify` after ReLU. Without an `input` in place. `layer` counts from 0 (conv1).
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn dropout_forward(
        &self,
        stream: &Stream,
        input: Option<Slice<'_, R>>,
        output: &mut SliceMut<'_, R>,
        scalars: Slice<'_, Scalars>,
        seed: u64,
        layer: usize,
        dropout: &Dropout,
        num_samples: usize,
        units: usize,
        channels: usize,
        rectify: bool,
    ) -> Result<()> {
        assert_len("output", output.len(), num_samples * units);
        assert_len("scalars", scalars.len(), 1);
        assert!(
            channels.is_multiple_of(super::OCTET) && units.is_multiple_of(channels),
            "{units} units of {channels} channels, and octets of them"
        );
        let input = input.map_or(output.address(), |input| {
            assert_len("input", input.len(), num_samples * units);
            input.address()
        });
        launch!(
            stream,
            &self.dropout_forward,
            shapes::octets(output.len()),
            [
                input,
                output.address(),
                scalars.address(),
                seed,
                layer as u32,
                threshold(dropout),
                dropout.train_scale,
                int(num_samples),
                int(units),
                int(channels),
                i32::from(rectify),
            ]
        )
    }

    /// ReLU of input, times factor, to output, both of one length, a multiple of eight. Without an `input` in place.
    pub fn relu_scale(
        &self,
        stream: &Stream,
        input: Option<Slice<'_, R>>,
        output: &mut SliceMut<'_, R>,
        factor: f32,
    ) -> Result<()> {
        let count = output.len();
        let input = input.map_or(output.address(), |input| {
            assert_len("input", input.len(), count);
            input.address()
        });
        launch!(stream, &self.relu_scale, shapes::octets(count), [input, output.address(), factor, count as i64])
    }

    /// The backward pass of a hidden layer's ReLU and dropout, by its output and the factor of the units that were
    /// kept, in place on gradient (num_samples, units), and of its bias (units).
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn dense_backward(
        &self,
        stream: &Stream,
        output: Slice<'_, R>,
        factor: f32,
        gradient: &mut SliceMut<'_, R>,
        bias_gradient: &mut SliceMut<'_, R>,
        num_samples: usize,
        units: usize,
    ) -> Result<()> {
        assert_len("output", output.len(), num_samples * units);
        assert_len("gradient", gradient.len(), num_samples * units);
        assert_len("bias_gradient", bias_gradient.len(), units);
        let (output, gradient, bias_gradient) = (output.address(), gradient.address(), bias_gradient.address());
        let shape = shapes::dense_backward(units);
        let (num_samples, units, rectify) = (int(num_samples), int(units), 1_i32);
        launch!(
            stream,
            &self.dense_backward,
            shape,
            [output, gradient, bias_gradient, num_samples, units, factor, rectify]
        )
    }

    /// The gradient of the last layer's bias (units), from that of its output (num_samples, units).
    pub fn sum_samples(
        &self,
        stream: &Stream,
        gradient: Slice<'_, R>,
        bias_gradient: &mut SliceMut<'_, R>,
        num_samples: usize,
        units: usize,
    ) -> Result<()> {
        assert_len("gradient", gradient.len(), num_samples * units);
        assert_len("bias_gradient", bias_gradient.len(), units);
        let (no_output, gradient, bias_gradient) = (0_u64, gradient.address(), bias_gradient.address());
        let shape = shapes::dense_backward(units);
        let (num_samples, units, factor, rectify) = (int(num_samples), int(units), 1.0_f32, 0_i32);
        launch!(
            stream,
            &self.dense_backward,
            shape,
            [no_output, gradient, bias_gradient, num_samples, units, factor, rectify]
        )
    }
}
