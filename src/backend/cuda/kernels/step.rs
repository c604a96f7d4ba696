//! Launches of kernels/step.cu, loss.cu and update.cu.

use super::{Kernels, SampleLoss, Scalars, StepStatistics, assert_len, int, launch, shapes};
use crate::backend::cuda::driver::{Slice, SliceMut, Stream};
use crate::backend::cuda::options::UpdateWidth;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::recipe::settings::UpdateRule;

impl<R: Real> Kernels<R> {
    /// Writes the numbers of a step, (1).
    pub fn begin_step(
        &self,
        stream: &Stream,
        scalars: &mut SliceMut<'_, Scalars>,
        step: u64,
        learning_rate: f32,
        num_valid: u32,
    ) -> Result<()> {
        assert_len("scalars", scalars.len(), 1);
        let shape = shapes::begin_step();
        launch!(stream, &self.begin_step, shape, [scalars.address(), step, learning_rate, num_valid])
    }

    /// logits (num_samples, stride) and labels (num_samples) to gradient, as logits, or probabilities (num_samples,
    /// num_classes), or both, and losses (num_samples). Labels are below num_classes.
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn softmax_cross_entropy(
        &self,
        stream: &Stream,
        logits: Slice<'_, f32>,
        labels: Slice<'_, u32>,
        gradient: Option<&mut SliceMut<'_, R>>,
        probabilities: Option<&mut SliceMut<'_, f32>>,
        losses: &mut SliceMut<'_, SampleLoss>,
        scalars: Slice<'_, Scalars>,
        label_smoothing: f32,
        num_samples: usize,
        num_classes: usize,
        stride: usize,
    ) -> Result<()> {
        assert!(num_classes <= stride, "{num_classes} classes in rows of {stride}");
        assert_len("logits", logits.len(), num_samples * stride);
        assert_len("labels", labels.len(), num_samples);
        assert_len("losses", losses.len(), num_samples);
        assert_len("scalars", scalars.len(), 1);
        let gradient = gradient.map_or(0, |gradient| {
            assert_len("gradient", gradient.len(), num_samples * stride);
            gradient.address()
        });
        let probabilities = probabilities.map_or(0, |probabilities| {
            assert_len("probabilities", probabilities.len(), num_samples * num_classes);
            probabilities.address()
        });
        let shape = shapes::softmax_cross_entropy(num_samples);
        launch!(
            stream,
            &self.softmax_cross_entropy,
            shape,
            [
                logits.address(),
                labels.address(),
                gradient,
                probabilities,
                losses.address(),
                scalars.address(),
                1.0 - label_smoothing,
                label_smoothing / num_classes as f32,
                int(num_samples),
                int(num_classes),
                int(stride),
            ]
        )
    }

    /// losses (N, of which num_valid count) to statistics (1).
    pub fn collect_statistics(
        &self,
        stream: &Stream,
        losses: Slice<'_, SampleLoss>,
        scalars: Slice<'_, Scalars>,
        statistics: &mut SliceMut<'_, StepStatistics>,
    ) -> Result<()> {
        assert_len("scalars", scalars.len(), 1);
        assert_len("statistics", statistics.len(), 1);
        let shape = shapes::collect_statistics();
        launch!(stream, &self.collect_statistics, shape, [losses.address(), scalars.address(), statistics.address()])
    }

    /// A step of values, velocities and working (all of one length, a multiple of eight) along gradients. `working` is
    /// none where the values themselves are worked with. From first_bias on they are biases, which follow a rule of
    /// their own at bias_rate times the step's learning rate.
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn update(
        &self,
        stream: &Stream,
        values: &mut SliceMut<'_, f32>,
        velocities: &mut SliceMut<'_, f32>,
        gradients: Slice<'_, R>,
        working: Option<&mut SliceMut<'_, R>>,
        scalars: Slice<'_, Scalars>,
        weights: UpdateRule,
        first_bias: usize,
        biases: UpdateRule,
        bias_rate: f32,
        width: UpdateWidth,
    ) -> Result<()> {
        let count = values.len();
        assert_eq!(first_bias % super::OCTET, 0, "the place of the first bias, and octets");
        assert_len("velocities", velocities.len(), count);
        assert_len("gradients", gradients.len(), count);
        assert_len("scalars", scalars.len(), 1);
        assert_eq!(
            working.is_none(),
            R::IS_MASTER,
            "working weights where they differ from the values, and only there"
        );
        let working = working.map_or(0, |working| {
            assert_len("working", working.len(), count);
            working.address()
        });
        launch!(
            stream,
            &self.update,
            shapes::update(count, width),
            [
                values.address(),
                velocities.address(),
                gradients.address(),
                working,
                scalars.address(),
                count as i64,
                weights,
                first_bias as i64,
                biases,
                bias_rate,
            ]
        )
    }

    /// values to working, both of one length, a multiple of eight.
    pub fn cast(&self, stream: &Stream, values: Slice<'_, f32>, working: &mut SliceMut<'_, R>) -> Result<()> {
        let count = values.len();
        assert_len("working", working.len(), count);
        launch!(stream, &self.cast, shapes::octets(count), [values.address(), working.address(), count as i64])
    }
}
