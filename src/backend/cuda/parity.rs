//! The CUDA backend held against the CPU backend, tensor by tensor over one training step and one evaluation: for the tests on the
//! simulated CUDA, and for `gpu-check` on a real one. The layers run all kernels, so a wrong kernel is a wrong tensor.

use half::f16;

use super::{CudaBackend, Precision, Real};
use crate::backend::cpu::CpuBackend;
use crate::backend::step::step;
use crate::backend::{Backend, BackendOptions, Pass, Slot, Statistics, StepScalars};
use crate::error::Result;
use crate::input::{Batch, Dtype, Values};
use crate::model::network::{Block, NUM_LAYERS};
use crate::model::{Network, Parameters};
use crate::philox::{Purpose, normal_pair, words};

/// One tensor, computed by both.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// `conv1 output`, `fc8.weight gradient`, `loss`, ...
    pub tensor: String,
    /// The L2 norm of the difference over that of the CPU's values.
    pub relative_error: f64,
    /// What the precision and the tensor's depth explain.
    pub tolerance: f64,
    /// Whether a rounding may change it by more than a rounding: gradients, and what comes of them, go another way where a value on the edge
    /// changes sides of ReLU's 0 or places in a pooling window.
    pub jumps: bool,
}

impl Compared {
    /// Whether the difference is explained. What is not a number is not.
    pub fn is_within(&self) -> bool {
        self.relative_error <= self.tolerance
    }
}

/// Deviation of made-up inputs: real ones are the 0-255 scale's residuals, times `augment.scale` in the recipe with He's initial values.
const INPUT_DEVIATION: f32 = 1.0;

/// Runs a training step and an evaluation on both backends, from the same parameters and the same made-up batch, of which the last sample does not
/// count in the evaluation. A step other than 0 shows that dropout's counter counts.
pub fn compare<R: Real>(
    network: &Network,
    parameters: &Parameters,
    options: BackendOptions,
    scalars: StepScalars,
    precision: Precision,
    cuda: &mut CudaBackend<R>,
) -> Result<Vec<Compared>> {
    let mut cpu = CpuBackend::new(network, options, None);
    let [wide, narrow] = made_up_batches(network, &options);
    let mut compared = Comparison { precision, tensors: Vec::new(), changed_sides: 0.0 };
    let (wide, narrow) = {
        let ours = run(cuda, Pass::Train, scalars, parameters, narrow)?;
        let theirs = run(&mut cpu, Pass::Train, scalars, parameters, wide)?;
        compared.statistics("training", &ours.0, &theirs.0);
        (theirs.1, ours.1)
    };
    compared.outputs(network, cuda, &cpu)?;
    compared.tensors(network, &mut cpu, cuda, parameters)?;
    let num_valid = (options.batch_size - 1).max(1);
    let of_evaluation = |batch: Batch| Batch { num_valid, ..batch };
    let ours = run(cuda, Pass::Eval, scalars, parameters, of_evaluation(narrow))?.0;
    let theirs = run(&mut cpu, Pass::Eval, scalars, parameters, of_evaluation(wide))?.0;
    compared.statistics("evaluation", &ours, &theirs);
    let slot = Slot::of_step(scalars.step);
    compared.push("probabilities", Kind::Output, cuda.probabilities(slot)?, cpu.probabilities(slot)?);
    Ok(compared.tensors)
}

fn run<B: Backend>(
    backend: &mut B,
    pass: Pass,
    scalars: StepScalars,
    parameters: &Parameters,
    batch: Batch,
) -> Result<(Statistics, Batch)> {
    let slot = Slot::of_step(scalars.step);
    backend.load(parameters)?;
    backend.upload(slot, batch)?;
    backend.replay(slot, pass, scalars, step::<B>)?;
    let statistics = backend.statistics(slot)?;
    Ok((statistics, backend.reclaim(slot)?.expect("the batch that was uploaded")))
}

/// The same values in f32 and in f16: images of N(0, 1), classes in turn.
fn made_up_batches(network: &Network, options: &BackendOptions) -> [Batch; 2] {
    let zeros = |dtype| Batch::zeros(dtype, options.batch_size, network.input_values());
    let (mut wide, mut narrow) = (zeros(Dtype::F32), zeros(Dtype::F16));
    let (Values::F32(values), Values::F16(halves)) = (&mut wide.values, &mut narrow.values) else {
        unreachable!("as asked for")
    };
    for (index, (values, halves)) in values.chunks_mut(2).zip(halves.chunks_mut(2)).enumerate() {
        let bits = words(options.seed, Purpose::Synthetic, [index as u32, 0, 0]);
        let draws = normal_pair(bits[0], bits[1]);
        for ((value, half), draw) in values.iter_mut().zip(halves).zip(draws) {
            *half = f16::from_f32(INPUT_DEVIATION * draw);
            *value = half.to_f32();
        }
    }
    for batch in [&mut wide, &mut narrow] {
        batch.num_valid = options.batch_size;
        for (index, label) in batch.labels.iter_mut().enumerate() {
            *label = (index * 7 % network.num_classes) as u32;
        }
    }
    [wide, narrow]
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
    /// How many of the hidden dense units are on one side of ReLU's 0 here and on the other there, for each that is active.
    changed_sides: f64,
}

impl Comparison {
    fn push(&mut self, tensor: impl Into<String>, kind: Kind, ours: &[f32], theirs: &[f32]) {
        let tensor = tensor.into();
        assert_eq!(ours.len(), theirs.len(), "values of {tensor}");
        let square = |value: f64| value * value;
        let difference: f64 =
            ours.iter().zip(theirs).map(|(ours, theirs)| square(f64::from(*ours) - f64::from(*theirs))).sum();
        let norm: f64 = theirs.iter().map(|theirs| square(f64::from(*theirs))).sum();
        let relative_error = if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() };
        // A unit that changes sides brings or takes a whole gradient, of about the size of the others.
        let of_sides =
            if matches!(kind, Kind::Dense | Kind::Pooled) { GRADIENT_SPREAD * self.changed_sides.sqrt() } else { 0.0 };
        let (tolerance, jumps) = (tolerance(self.precision, kind).hypot(of_sides), !matches!(kind, Kind::Output));
        self.tensors.push(Compared { tensor, relative_error, tolerance, jumps });
    }

    fn statistics(&mut self, pass: &str, ours: &Statistics, theirs: &Statistics) {
        self.push(format!("{pass} loss"), Kind::Output, &[ours.loss_sum as f32], &[theirs.loss_sum as f32]);
        let relative_error = ours.num_samples.abs_diff(theirs.num_samples) as f64 / theirs.num_samples as f64;
        self.tensors.push(Compared { tensor: format!("{pass} samples"), relative_error, tolerance: 0.0, jumps: false });
    }

    fn outputs<R: Real>(&mut self, network: &Network, cuda: &mut CudaBackend<R>, cpu: &CpuBackend) -> Result<()> {
        for (index, layer) in network.layers.iter().enumerate() {
            let (ours, theirs) = (cuda.output(index)?, cpu.output(index));
            self.push(format!("{} output", layer.name), Kind::Output, &ours, theirs);
            if matches!(&layer.block, Block::Dense(dense) if dense.hidden.is_some()) {
                let num_changed =
                    ours.iter().zip(theirs).filter(|(ours, theirs)| (**ours > 0.0) != (**theirs > 0.0)).count();
                let num_active = theirs.iter().filter(|theirs| **theirs > 0.0).count();
                self.changed_sides += num_changed as f64 / num_active.max(1) as f64;
            }
        }
        Ok(())
    }

    /// Gradients, and weights and velocities after the step.
    fn tensors<R: Real>(
        &mut self,
        network: &Network,
        cpu: &mut CpuBackend,
        cuda: &mut CudaBackend<R>,
        parameters: &Parameters,
    ) -> Result<()> {
        let mut gradients = Parameters::zeros(parameters.layout.clone());
        cuda.gradients(&mut gradients)?;
        let (mut ours, mut theirs) = (gradients.clone(), gradients.clone());
        cuda.store(&mut ours)?;
        cpu.store(&mut theirs)?;
        for index in 0..NUM_LAYERS {
            let (name, place) = (&network.layers[index].name, &parameters.layout.layers()[index]);
            let kind = if matches!(network.layers[index].block, Block::Conv(_)) { Kind::Pooled } else { Kind::Dense };
            for (part, after, range) in [("weight", Kind::Weight, &place.weight), ("bias", kind, &place.bias)] {
                let at = || range.clone();
                let mut push = |what, kind, ours: &[f32], theirs: &[f32]| {
                    self.push(format!("{name}.{part}{what}"), kind, &ours[at()], &theirs[at()]);
                };
                push(" gradient", kind, &gradients.values, cpu.gradients());
                push(" velocity", kind, &ours.velocities, &theirs.velocities);
                push("", after, &ours.values, &theirs.values);
            }
        }
        Ok(())
    }
}

/// A value has passed up to eight layers, a gradient sixteen, each of which rounds its factors: to 2^-24 in f32, to 2^-11 in TF32, to 2^-8
/// in bf16. Where a rounding makes two values of a pooling window change places, a whole gradient goes to the other pixel: in one of a hundred windows
/// of bf16 values, which is sqrt(2 / 100) of the gradient's norm at each of three poolings. The units of dense layers that change sides of
/// ReLU's 0 are counted, and come on top: the gradients of all layers before them feel them.
fn tolerance(precision: Precision, kind: Kind) -> f64 {
    match (precision, kind) {
        (Precision::F32, Kind::Output) => 5e-6,
        (Precision::F32, Kind::Dense | Kind::Pooled) => 2e-5,
        (Precision::F32, Kind::Weight) => 1e-6,
        (Precision::Tf32, Kind::Output) => 4e-3,
        (Precision::Tf32, Kind::Dense) => 1e-2,
        (Precision::Tf32, Kind::Pooled) => 1e-1,
        (Precision::Tf32, Kind::Weight) => 1e-3,
        (Precision::Bf16, Kind::Output) => 2e-2,
        (Precision::Bf16, Kind::Dense) => 3e-2,
        (Precision::Bf16, Kind::Pooled) => 4e-1,
        (Precision::Bf16, Kind::Weight) => 1e-2,
    }
}
