//! kernels/step.cu and loss.cu.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::values::{draws, wide};
use crate::backend::cpu::loss;
use crate::backend::cuda::kernels::{SampleLoss, Scalars, StepStatistics};
use crate::backend::cuda::real::Real;
use crate::error::Result;

/// A step beyond 32 bits.
const STEP: u64 = (7 << 32) + 1;

pub fn begin_step<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    let mut scalars = on.poisoned::<Scalars>(1)?;
    on.kernels()?.begin_step(&on.stream, &mut scalars.all_mut(), STEP, 0.25, 5)?;
    let numbers =
        |scalars: &Scalars| vec![scalars.step as f64, f64::from(scalars.learning_rate), f64::from(scalars.num_valid)];
    let (ours, theirs) = (on.read(&scalars)?[0], Scalars { step: STEP, learning_rate: 0.25, num_valid: 5 });
    outputs.push("scalars", &[("number", 3)], numbers(&ours), numbers(&theirs), Tolerance::EXACT);
    Ok(())
}

/// Logits (N, stride) of which the first num_classes count, and labels, of which the first num_valid do.
struct Logits {
    what: &'static str,
    values: Vec<f32>,
    labels: Vec<u32>,
    num_valid: usize,
    num_classes: usize,
    label_smoothing: f32,
}

impl Logits {
    /// A spread that makes some classes all but certain; padding is rubbish.
    fn drawn(num_samples: usize, num_valid: usize, num_classes: usize) -> Self {
        let stride = num_classes.next_multiple_of(8);
        let mut values: Vec<f32> = draws(num_samples * stride, 1).into_iter().map(|draw| 4.0 * draw).collect();
        for row in values.chunks_mut(stride) {
            row[num_classes..].fill(1e30);
        }
        let labels = (0..num_samples).map(|sample| (sample * 37 % num_classes) as u32).collect();
        Self { what: "draws", values, labels, num_valid, num_classes, label_smoothing: 0.0 }
    }

    /// All of them count.
    fn of(what: &'static str, values: &[f32], labels: &[u32]) -> Self {
        let (num_valid, num_classes) = (labels.len(), values.len() / labels.len());
        Self { what, values: values.to_vec(), labels: labels.to_vec(), num_valid, num_classes, label_smoothing: 0.0 }
    }

    fn all() -> [Self; 9] {
        let nan = f32::NAN;
        [
            Self::drawn(1, 1, 2),
            Self::drawn(3, 2, 10),
            Self::drawn(5, 5, 1000),
            Self::drawn(2, 1, 257),
            Self { what: "draws, smoothed", label_smoothing: 0.1, ..Self::drawn(3, 2, 10) },
            // They neither overflow nor vanish.
            Self::of("huge logits", &[1e4, 0.0, -1e4], &[1]),
            // Exactly one is first.
            Self::of("equal logits", &[1.0; 4 * 8], &[0, 1, 2, 7]),
            // Never right, and in the loss.
            Self::of("NaN for the label", &[0.0, nan, 1.0, 2.0, 3.0, 4.0], &[1]),
            Self::of("NaN for another", &[9.0, nan], &[0]),
        ]
    }
}

/// Losses and ranks by sample, and by class what kernels write of each.
#[derive(Default)]
struct Expected {
    losses: Vec<f64>,
    ranks: Vec<f64>,
    probabilities: Vec<f64>,
    gradient: Vec<f64>,
}

impl Expected {
    fn of(logits: &Logits) -> Self {
        let Logits { values, labels, num_valid, num_classes, label_smoothing, .. } = logits;
        let stride = values.len() / labels.len();
        let mut expected = Self::default();
        for (sample, (row, label)) in values.chunks(stride).zip(labels).enumerate() {
            let (mut probabilities, mut gradient) = (vec![0.0; *num_classes], vec![0.0; stride]);
            let mut found = loss::SampleLoss::default();
            if sample < *num_valid {
                let row: Vec<f64> = row[..*num_classes].iter().map(|logit| f64::from(*logit)).collect();
                found = loss::softmax_cross_entropy(&row, *label as usize, &mut probabilities);
                gradient[..*num_classes].copy_from_slice(&probabilities);
                let by_class = &mut gradient[..*num_classes];
                loss::softmax_cross_entropy_backward(*label as usize, *num_valid, *label_smoothing, by_class);
            }
            expected.losses.push(found.loss);
            expected.ranks.push(found.rank as f64);
            expected.probabilities.extend(probabilities);
            expected.gradient.extend(gradient);
        }
        expected
    }
}

pub fn softmax_cross_entropy<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for logits in Logits::all() {
        let Logits { what, values, labels, num_valid, num_classes, label_smoothing } = &logits;
        let num_samples = labels.len();
        let stride = values.len() / num_samples;
        let scalars = Scalars { step: 7, learning_rate: 0.01, num_valid: *num_valid as u32 };
        let (on_device, labels, scalars) = (on.upload(values)?, on.upload(labels)?, on.upload(&[scalars])?);
        let mut gradient = on.poisoned::<R>(values.len())?;
        let mut probabilities = on.poisoned::<f32>(num_samples * num_classes)?;
        let mut losses = on.poisoned::<SampleLoss>(num_samples)?;
        on.kernels()?.softmax_cross_entropy(
            &on.stream,
            on_device.all(),
            labels.all(),
            Some(&mut gradient.all_mut()),
            Some(&mut probabilities.all_mut()),
            &mut losses.all_mut(),
            scalars.all(),
            *label_smoothing,
            num_samples,
            *num_classes,
            stride,
        )?;
        let (expected, losses) = (Expected::of(&logits), on.read(&losses)?);
        let [by_sample, by_class] = [[("n", num_samples), ("", 1)], [("n", num_samples), ("class", stride)]];
        let name = |tensor: &str| format!("{tensor} of ({num_samples}, {num_classes}), {what}");
        let own = losses.iter().map(|sample| f64::from(sample.loss)).collect();
        // The sum of exponentials is 1 and more, and its logarithm off by what the sum is off.
        let of_losses = Tolerance::rounded_within::<f32>(Tolerance::ARITHMETIC);
        outputs.push(name("loss"), &by_sample[..1], own, expected.losses, of_losses);
        let own = losses.iter().map(|sample| f64::from(sample.rank)).collect();
        outputs.push(name("rank"), &by_sample[..1], own, expected.ranks, Tolerance::EXACT);
        let own = wide(&on.read(&probabilities)?);
        let of_probabilities = Tolerance::rounded::<f32>(&expected.probabilities);
        let axes = [by_class[0], ("class", *num_classes)];
        outputs.push(name("probabilities"), &axes, own, expected.probabilities, of_probabilities);
        // Probability and 1 cancel at the label: what they are off is a part of 1 / num_valid.
        let of_gradient = Tolerance::rounded_within::<R>(Tolerance::ARITHMETIC / *num_valid as f64);
        outputs.push(name("gradient"), &by_class, wide(&on.read(&gradient)?), expected.gradient, of_gradient);
    }
    Ok(())
}

pub fn collect_statistics<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    // Eighths: their sum is exact in f64.
    let losses: Vec<_> = (0..1000_u32).map(|at| SampleLoss { loss: at as f32 / 8.0, rank: at % 7 }).collect();
    for num_valid in [0, 1, 300, 1000] {
        let scalars = on.upload(&[Scalars { step: 7, learning_rate: 0.01, num_valid }])?;
        let (on_device, mut statistics) = (on.upload(&losses)?, on.poisoned::<StepStatistics>(1)?);
        let to = &mut statistics.all_mut();
        on.kernels()?.collect_statistics(&on.stream, on_device.all(), scalars.all(), to)?;
        let valid = &losses[..num_valid as usize];
        let theirs = StepStatistics {
            loss_sum: valid.iter().map(|sample| f64::from(sample.loss)).sum(),
            num_top1: valid.iter().filter(|sample| sample.rank < 1).count() as u32,
            num_top5: valid.iter().filter(|sample| sample.rank < 5).count() as u32,
            num_samples: num_valid,
            padding: 0,
        };
        let numbers = |statistics: &StepStatistics| {
            let StepStatistics { loss_sum, num_top1, num_top5, num_samples, padding } = *statistics;
            let counts = [num_top1, num_top5, num_samples, padding].map(f64::from);
            [loss_sum].into_iter().chain(counts).collect::<Vec<_>>()
        };
        let (name, ours) = (format!("statistics of ({num_valid})"), on.read(&statistics)?[0]);
        outputs.push(name, &[("number", 5)], numbers(&ours), numbers(&theirs), Tolerance::EXACT);
    }
    Ok(())
}
