//! kernels/step.cu, loss.cu and update.cu.

use half::bf16;

use super::super::{SampleLoss, Scalars, StepStatistics, int, shapes};
use super::host::run;
use super::{Tolerance, assert_close, draws, in_any_order, poisoned, reals, rounded, wide};
use crate::backend::cpu::loss;
use crate::backend::cpu::update::Update;
use crate::backend::cuda::options::UpdateWidth;
use crate::backend::cuda::real::Real;
use crate::model::BiasRule;
use crate::model::layers::BiasDecay;
use crate::recipe::settings::UpdateRule;

fn scalars(num_valid: u32) -> Scalars {
    Scalars { step: 7, learning_rate: 0.01, num_valid }
}

#[test]
fn a_steps_numbers_are_written_whole() {
    let mut written = Scalars::default();
    let step = (7_u64 << 32) + 1;
    run!(bf16, "begin_step", shapes::begin_step(), 0, [&raw mut written, step, 0.25_f32, 5_u32]);
    assert_eq!(written, Scalars { step, learning_rate: 0.25, num_valid: 5 });
}

/// What softmax_cross_entropy writes.
struct Loss<R> {
    gradient: Vec<R>,
    probabilities: Vec<f32>,
    losses: Vec<SampleLoss>,
}

fn run_loss<R: Real>(logits: &[f32], labels: &[u32], num_valid: u32, num_classes: usize, order: u32) -> Loss<R> {
    let num_samples = labels.len();
    let stride = logits.len() / num_samples;
    let mut gradient = poisoned::<R>(logits.len());
    let mut probabilities = vec![f32::NAN; num_samples * num_classes];
    let mut losses = vec![SampleLoss { loss: f32::NAN, rank: 99 }; num_samples];
    let scalars = scalars(num_valid);
    run!(
        R,
        "softmax_cross_entropy",
        shapes::softmax_cross_entropy(num_samples),
        order,
        [
            logits.as_ptr(),
            labels.as_ptr(),
            gradient.as_mut_ptr(),
            probabilities.as_mut_ptr(),
            losses.as_mut_ptr(),
            &raw const scalars,
            int(num_samples),
            int(num_classes),
            int(stride),
        ]
    );
    Loss { gradient, probabilities, losses }
}

fn loss_is_the_cpus<R: Real>(num_samples: usize, num_valid: usize, num_classes: usize) {
    let name = format!("{} of {num_valid} of ({num_samples}, {num_classes})", R::DEFINITION);
    let stride = num_classes.next_multiple_of(8);
    // A spread that makes some classes all but certain; padding is rubbish.
    let mut logits: Vec<f32> = draws(num_samples * stride, 1).into_iter().map(|draw| 4.0 * draw as f32).collect();
    for row in logits.chunks_mut(stride) {
        row[num_classes..].fill(1e30);
    }
    let labels: Vec<u32> = (0..num_samples).map(|sample| (sample * 37 % num_classes) as u32).collect();
    let own = run_loss::<R>(&logits, &labels, num_valid as u32, num_classes, 0);
    in_any_order(&name, |order| run_loss::<R>(&logits, &labels, num_valid as u32, num_classes, order).gradient);
    in_any_order(&name, |order| run_loss::<R>(&logits, &labels, num_valid as u32, num_classes, order).losses);
    for (sample, (logits, label)) in logits.chunks(stride).zip(&labels).enumerate() {
        let mut expected = vec![0.0; num_classes];
        let (mut sample_loss, mut gradient) = (loss::SampleLoss::default(), vec![0.0; stride]);
        if sample < num_valid {
            let logits: Vec<f64> = logits[..num_classes].iter().map(|logit| f64::from(*logit)).collect();
            sample_loss = loss::softmax_cross_entropy(&logits, *label as usize, &mut expected);
            gradient[..num_classes].copy_from_slice(&expected);
            loss::softmax_cross_entropy_backward(*label as usize, num_valid, &mut gradient[..num_classes]);
        }
        let probabilities: Vec<f64> =
            own.probabilities[sample * num_classes..][..num_classes].iter().copied().map(f64::from).collect();
        assert_close(&name, &probabilities, &expected, rounded::<f32>());
        // Probability and 1 cancel at the label: what they are off is a part of 1 / num_valid.
        let largest = gradient.iter().fold(f64::MIN_POSITIVE, |largest, value| value.abs().max(largest));
        let absolute = rounded::<f32>().absolute / (largest * num_valid as f64);
        let tolerance = Tolerance { relative: rounded::<R>().relative, absolute };
        assert_close(&name, &wide(&own.gradient[sample * stride..][..stride]), &gradient, tolerance);
        // The sum of exponentials is 1 and more, and its logarithm off by what the sum is off.
        let off = (f64::from(own.losses[sample].loss) - sample_loss.loss).abs();
        assert!(off <= rounded::<f32>().absolute * sample_loss.loss.max(1.0), "{name}, sample {sample}: {off}");
        assert_eq!(own.losses[sample].rank as usize, sample_loss.rank, "{name}, sample {sample}");
    }
}

#[test]
fn loss_gradient_and_rank_are_the_cpus() {
    for (num_samples, num_valid, num_classes) in [(1, 1, 2), (3, 2, 10), (5, 5, 1000), (2, 1, 257)] {
        loss_is_the_cpus::<bf16>(num_samples, num_valid, num_classes);
        loss_is_the_cpus::<f32>(num_samples, num_valid, num_classes);
    }
}

#[test]
fn huge_logits_neither_overflow_nor_vanish() {
    let own = run_loss::<f32>(&[1e4, 0.0, -1e4], &[1], 1, 3, 0);
    assert_eq!((own.losses[0], own.probabilities), (SampleLoss { loss: 1e4, rank: 1 }, vec![1.0, 0.0, 0.0]));
}

#[test]
fn of_equal_logits_exactly_one_is_first() {
    let own = run_loss::<f32>(&[1.0; 4 * 8], &[0, 1, 2, 7], 4, 8, 0);
    assert_eq!(own.losses.iter().map(|sample| sample.rank).collect::<Vec<_>>(), [0, 1, 2, 7]);
}

#[test]
fn logits_that_are_no_numbers_are_never_right_and_show_in_the_loss() {
    let own = run_loss::<f32>(&[0.0, f32::NAN, 1.0, 2.0, 3.0, 4.0], &[1], 1, 6, 0);
    assert!(own.losses[0].loss.is_nan() && own.losses[0].rank == 6, "{:?}", own.losses);
    let own = run_loss::<f32>(&[9.0, f32::NAN], &[0], 1, 2, 0);
    assert!(own.losses[0].loss.is_nan() && own.losses[0].rank == 1, "{:?}", own.losses);
}

#[test]
fn statistics_count_the_valid_samples() {
    for num_valid in [0, 1, 300, 1000] {
        let losses: Vec<SampleLoss> =
            (0..1000_u32).map(|at| SampleLoss { loss: at as f32 / 8.0, rank: at % 7 }).collect();
        let statistics = in_any_order("statistics", |order| {
            let mut statistics = StepStatistics { padding: 99, ..StepStatistics::default() };
            let scalars = scalars(num_valid);
            run!(
                f32,
                "collect_statistics",
                shapes::collect_statistics(),
                order,
                [losses.as_ptr(), &raw const scalars, &raw mut statistics]
            );
            vec![statistics]
        });
        let valid = &losses[..num_valid as usize];
        // Eighths: their sum is exact in f64.
        let expected = StepStatistics {
            loss_sum: valid.iter().map(|sample| f64::from(sample.loss)).sum(),
            num_top1: valid.iter().filter(|sample| sample.rank < 1).count() as u32,
            num_top5: valid.iter().filter(|sample| sample.rank < 5).count() as u32,
            num_samples: num_valid,
            padding: 0,
        };
        assert_eq!(statistics, [expected]);
    }
}

/// Two updates, since the second one's velocity counts; a narrow one goes over its grid twice.
fn updates_are_the_cpus_to_the_bit<R: Real>(bias_rule: BiasRule) {
    let (count, first_bias) = (8 * 30_000, 8 * 29_990);
    let (mut values, mut velocities) = (reals::<f32>(count, 1), reals::<f32>(count, 2));
    let (mut expected_values, mut expected_velocities) = (values.clone(), velocities.clone());
    let mut working = poisoned::<R>(count);
    let (scalars, weights) = (scalars(1), UpdateRule::PAPER);
    for (step, width) in [(0, UpdateWidth::Narrow), (1, UpdateWidth::Wide)] {
        let gradients = reals::<R>(count, 3 + step);
        run!(
            R,
            "update",
            shapes::update(count, width),
            step,
            [
                values.as_mut_ptr(),
                velocities.as_mut_ptr(),
                gradients.as_ptr(),
                if R::IS_MASTER { std::ptr::null_mut() } else { working.as_mut_ptr() },
                &raw const scalars,
                count as i64,
                weights,
                first_bias as i64,
                UpdateRule { weight_decay: bias_rule.weight_decay(weights.weight_decay), ..weights },
                bias_rule.rate,
            ]
        );
        let update = Update::new(&weights, scalars.learning_rate);
        let gradients: Vec<f32> = gradients.iter().map(|gradient| gradient.to_f32()).collect();
        for (update, at) in [(update, 0..first_bias), (update.of_biases(&bias_rule), first_bias..count)] {
            let (values, velocities) = (&mut expected_values[at.clone()], &mut expected_velocities[at.clone()]);
            update.update(values, velocities, &gradients[at]);
        }
    }
    assert_eq!((&values, &velocities), (&expected_values, &expected_velocities), "{}", R::DEFINITION);
    if !R::IS_MASTER {
        let rounded: Vec<R> = values.iter().map(|value| R::from_f32(*value)).collect();
        assert_eq!(wide(&working), wide(&rounded));
    }
}

#[test]
fn updates_are_the_cpus() {
    for bias_rule in [BiasRule::AS_WEIGHTS, BiasRule { rate: 2.0, decay: BiasDecay::Off }] {
        updates_are_the_cpus_to_the_bit::<bf16>(bias_rule);
        updates_are_the_cpus_to_the_bit::<f32>(bias_rule);
    }
}

#[test]
fn casts_round_to_the_nearest_and_ties_to_even() {
    let mut values = reals::<f32>(8 * 300, 1);
    // Halves of bf16's last bit above 1 and above 1 + 2^-7, their neighbours, and the ends of the range.
    let edges = [1.003_906_2, 1.011_718_8, 1.003_906_4, f32::MAX, f32::MIN_POSITIVE, -0.0, f32::INFINITY, 1e-40];
    values[..8].copy_from_slice(&edges);
    let mut working = poisoned::<bf16>(values.len());
    let count = values.len();
    run!(bf16, "cast", shapes::octets(count), 0, [values.as_ptr(), working.as_mut_ptr(), count as i64]);
    let bits: Vec<_> = working.iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, values.iter().map(|value| bf16::from_f32(*value).to_bits()).collect::<Vec<_>>());
}
