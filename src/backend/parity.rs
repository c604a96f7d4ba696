//! One backend compared with another, tensor by tensor over one training step and one evaluation. The layers run all
//! operations, so a wrong one is a wrong tensor.

use half::f16;

use super::compared::{Axis, Compared};
use super::cuda::Precision;
use super::{Backend, BackendOptions, Pass, Slot, Statistics, StepScalars};
use crate::error::Result;
use crate::input::{Batch, Values};
use crate::model::network::Block;
use crate::model::{Network, Parameters};
use crate::synthetic::values::normal;

/// Deviation of the synthetic inputs: real ones are the 0-255 scale's residuals, times `augment.scale` in the recipe
/// with He's initial values.
const INPUT_DEVIATION: f32 = 1.0;

/// Runs a training step and an evaluation on both backends, from the same parameters and the same synthetic batch, of
/// which the last sample does not count in the evaluation. `precision` is that of `backend`; `reference` computes in
/// f32. A step other than 0 shows that dropout's counter counts.
pub fn compare(
    network: &Network,
    parameters: &Parameters,
    options: BackendOptions,
    scalars: StepScalars,
    precision: Precision,
    backend: &mut dyn Backend,
    reference: &mut dyn Backend,
) -> Result<Vec<Compared>> {
    let mut compared = Comparison { precision, tensors: Vec::new(), changed_sides: 0.0 };
    let batches = [synthetic_batch(network, &options, backend), synthetic_batch(network, &options, reference)];
    let run = |pass, backends: [&mut dyn Backend; 2], [ours, theirs]: [Batch; 2]| {
        let [backend, reference] = backends;
        let ours = run(backend, pass, scalars, parameters, ours)?;
        let theirs = run(reference, pass, scalars, parameters, theirs)?;
        Ok(([ours.0, theirs.0], [ours.1, theirs.1]))
    };
    let (statistics, batches) = run(Pass::Train, [backend, reference], batches)?;
    compared.statistics("training", statistics);
    compared.outputs(network, backend, reference)?;
    compared.tensors(network, backend, reference, parameters)?;
    let num_valid = (options.batch_size - 1).max(1);
    let (statistics, _) = run(Pass::Eval, [backend, reference], batches.map(|batch| Batch { num_valid, ..batch }))?;
    compared.statistics("evaluation", statistics);
    let slot = Slot::of_step(scalars.step);
    let (ours, theirs) = (backend.probabilities(slot)?, reference.probabilities(slot)?);
    compared.push("probabilities", Kind::Output, &[("n", 0), ("class", network.num_classes)], ours, theirs);
    Ok(compared.tensors)
}

/// The losses of one training step for each layer, with NaN in that layer's biases: a loss that is a number shows that
/// the layer, or one behind it, turns NaN into one.
pub fn losses_with_nan(
    network: &Network,
    parameters: &Parameters,
    options: BackendOptions,
    scalars: StepScalars,
    backend: &mut dyn Backend,
) -> Result<Vec<f64>> {
    let mut batch = synthetic_batch(network, &options, backend);
    let mut losses = Vec::new();
    for layer in parameters.layout.layers() {
        let mut with_nan = parameters.clone();
        with_nan.values[layer.bias.clone()].fill(f32::NAN);
        let (statistics, reclaimed) = run(backend, Pass::Train, scalars, &with_nan, batch)?;
        losses.push(statistics.loss_sum);
        batch = reclaimed;
    }
    Ok(losses)
}

fn run(
    backend: &mut dyn Backend,
    pass: Pass,
    scalars: StepScalars,
    parameters: &Parameters,
    batch: Batch,
) -> Result<(Statistics, Batch)> {
    let slot = Slot::of_step(scalars.step);
    backend.load(parameters)?;
    backend.upload(slot, batch)?;
    backend.run(slot, pass, scalars)?;
    let statistics = backend.statistics(slot)?;
    Ok((statistics, backend.reclaim(slot)?.expect("the batch that was uploaded")))
}

/// Images of N(0, 1) rounded to f16, whatever type the backend takes them in; classes in turn.
fn synthetic_batch(network: &Network, options: &BackendOptions, backend: &dyn Backend) -> Batch {
    let mut batch = Batch::zeros(backend.input_dtype(), options.batch_size, network.input_values());
    let draws = normal(options.seed, 0).map(|draw| f16::from_f32(INPUT_DEVIATION * draw));
    match &mut batch.values {
        Values::F16(values) => values.iter_mut().zip(draws).for_each(|(value, draw)| *value = draw),
        Values::F32(values) => values.iter_mut().zip(draws).for_each(|(value, draw)| *value = draw.to_f32()),
    }
    batch.num_valid = options.batch_size;
    for (index, label) in batch.labels.iter_mut().enumerate() {
        *label = (index * 7 % network.num_classes) as u32;
    }
    batch
}

/// What a tensor is, for its tolerance.
#[derive(Clone, Copy)]
enum Kind {
    /// A block's output, the loss, the probabilities.
    Output,
    /// A gradient or a velocity of a dense layer, and its biases, which were 0 before the step.
    Dense,
    /// Of a convolution: the gradient came through pooling.
    Pooled,
    /// Weights after the step, which is small beside them.
    Weight,
}

/// How much larger than the others' the gradients of the units that change sides may be.
const GRADIENT_SPREAD: f64 = 2.0;

struct Comparison {
    precision: Precision,
    tensors: Vec<Compared>,
    /// How many of the hidden dense units are on one side of ReLU's 0 here and on the other there, for each that is
    /// active.
    changed_sides: f64,
}

impl Comparison {
    fn push(&mut self, tensor: impl Into<String>, kind: Kind, axes: &[Axis], ours: &[f32], theirs: &[f32]) {
        let tensor = tensor.into();
        assert_eq!(ours.len(), theirs.len(), "values of {tensor}");
        let square = |value: f64| value * value;
        let of_differences: f64 =
            ours.iter().zip(theirs).map(|(ours, theirs)| square(f64::from(*ours) - f64::from(*theirs))).sum();
        let norm: f64 = theirs.iter().map(|theirs| square(f64::from(*theirs))).sum();
        let difference = if of_differences == 0.0 { 0.0 } else { (of_differences / norm).sqrt() };
        // A unit that changes sides brings or takes a whole gradient, of about the size of the others.
        let of_sides =
            if matches!(kind, Kind::Dense | Kind::Pooled) { GRADIENT_SPREAD * self.changed_sides.sqrt() } else { 0.0 };
        let (tolerance, jumps) = (tolerance(self.precision, kind).hypot(of_sides), !matches!(kind, Kind::Output));
        let compared = Compared { tolerance, jumps, ..Compared::new(tensor, difference, ours.len()) };
        // If the tensor is beyond its tolerance, so is one of its values.
        let limit = tolerance * (norm / theirs.len() as f64).sqrt();
        self.tensors.push(compared.with_values(limit, axes, ours, theirs));
    }

    fn statistics(&mut self, pass: &str, [ours, theirs]: [Statistics; 2]) {
        self.push(format!("{pass} loss"), Kind::Output, &[], &[ours.loss_sum as f32], &[theirs.loss_sum as f32]);
        let difference = ours.num_samples.abs_diff(theirs.num_samples) as f64 / theirs.num_samples as f64;
        let [ours, theirs] = [ours, theirs].map(|statistics| [statistics.num_samples as f32]);
        let compared = Compared::new(format!("{pass} samples"), difference, 1);
        self.tensors.push(compared.with_values(0.0, &[], &ours, &theirs));
    }

    fn outputs(&mut self, network: &Network, backend: &mut dyn Backend, reference: &mut dyn Backend) -> Result<()> {
        for (index, layer) in network.layers.iter().enumerate() {
            let (ours, theirs) = (backend.output(index)?, reference.output(index)?);
            let axes = match &layer.block {
                Block::Conv(conv) => {
                    vec![("n", 0), ("c", conv.out_channels), ("y", conv.out_side), ("x", conv.out_side)]
                }
                Block::Dense(dense) => vec![("n", 0), ("unit", dense.outputs)],
            };
            self.push(format!("{} output", layer.name), Kind::Output, &axes, &ours, &theirs);
            if matches!(&layer.block, Block::Dense(dense) if dense.hidden.is_some()) {
                let num_changed =
                    ours.iter().zip(&theirs).filter(|(ours, theirs)| (**ours > 0.0) != (**theirs > 0.0)).count();
                let num_active = theirs.iter().filter(|theirs| **theirs > 0.0).count();
                self.changed_sides += num_changed as f64 / num_active.max(1) as f64;
            }
        }
        Ok(())
    }

    /// Gradients, and weights and velocities after the step.
    fn tensors(
        &mut self,
        network: &Network,
        backend: &mut dyn Backend,
        reference: &mut dyn Backend,
        parameters: &Parameters,
    ) -> Result<()> {
        let read = |backend: &mut dyn Backend| {
            let mut gradients = Parameters::zeros(parameters.layout.clone());
            let mut after = gradients.clone();
            backend.gradients(&mut gradients)?;
            backend.store(&mut after)?;
            Ok([gradients.values, after.velocities, after.values])
        };
        let (ours, theirs) = (read(backend)?, read(reference)?);
        for (layer, place) in network.layers.iter().zip(parameters.layout.layers()) {
            let kind = if matches!(layer.block, Block::Conv(_)) { Kind::Pooled } else { Kind::Dense };
            let names = ["output", "input", "y", "x"];
            let weight_axes: Vec<Axis> = names.into_iter().zip(layer.block.weight_shape()).collect();
            let parts = [
                ("weight", Kind::Weight, &place.weight, &weight_axes[..]),
                ("bias", kind, &place.bias, &weight_axes[..1]),
            ];
            for (part, after, range, axes) in parts {
                let kinds = [(" gradient", kind), (" velocity", kind), ("", after)];
                for ((what, kind), (ours, theirs)) in kinds.into_iter().zip(ours.iter().zip(&theirs)) {
                    let name = format!("{}.{part}{what}", layer.name);
                    self.push(name, kind, axes, &ours[range.clone()], &theirs[range.clone()]);
                }
            }
        }
        Ok(())
    }
}

/// A value has passed up to eight layers, a gradient sixteen, each of which rounds its factors: to 2^-24 in f32, to
/// 2^-11 in TF32, to 2^-8 in bf16. Where a rounding makes two values of a pooling window change places, a whole
/// gradient goes to the other pixel: in one of a hundred windows of bf16 values, which is sqrt(2 / 100) of the
/// gradient's norm at each of three poolings. The units of dense layers that change sides of ReLU's 0 are counted, and
/// come on top: the gradients of all layers before them feel them.
///
/// On outputs, TF32 may lose more than rounding does: a kernel that leaves its factors unrounded has them cut off by
/// the tensor cores, each a little too small (3.4e-4 on average), which eight layers add up to 5e-3. And in f32 sums of
/// up to 9216 products, in whatever order a library adds them, come to 3e-6 by the last layer, and to more where it
/// computes by transforms.
fn tolerance(precision: Precision, kind: Kind) -> f64 {
    match (precision, kind) {
        (Precision::F32, Kind::Output) => 2e-5,
        (Precision::F32, Kind::Dense | Kind::Pooled) => 2e-5,
        (Precision::F32, Kind::Weight) => 1e-6,
        (Precision::Tf32, Kind::Output) => 1e-2,
        (Precision::Tf32, Kind::Dense) => 1e-2,
        (Precision::Tf32, Kind::Pooled) => 1e-1,
        (Precision::Tf32, Kind::Weight) => 1e-3,
        (Precision::Bf16, Kind::Output) => 2e-2,
        (Precision::Bf16, Kind::Dense) => 3e-2,
        (Precision::Bf16, Kind::Pooled) => 4e-1,
        (Precision::Bf16, Kind::Weight) => 1e-2,
    }
}
