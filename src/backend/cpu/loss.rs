//! Softmax and cross-entropy, and the rank of the label, of which top-1 and top-5 are counted.

use super::real::Real;
use crate::backend::rank;

/// What one sample adds to the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SampleLoss {
    /// Its cross-entropy, in nats.
    pub loss: f64,
    /// The label's, by [`rank`].
    pub rank: usize,
}

/// logits and probabilities (num_classes) of one sample: loss = log(sum exp(logits)) - logits[label].
///
/// The sums are in f64: a thousand classes cost nothing beside the network, and the loss is exact to f32.
pub fn softmax_cross_entropy<T: Real>(logits: &[T], label: usize, probabilities: &mut [T]) -> SampleLoss {
    let own = logits[label];
    let highest = logits.iter().map(|logit| logit.to_f64()).fold(f64::NEG_INFINITY, f64::max);
    let exponential = |logit: &T| (logit.to_f64() - highest).exp();
    let sum: f64 = logits.iter().map(exponential).sum();
    for (probability, logit) in probabilities.iter_mut().zip(logits) {
        *probability = T::from_f64(exponential(logit) / sum);
    }
    SampleLoss { loss: sum.ln() + highest - own.to_f64(), rank: rank(logits, label) }
}

/// The gradient of the batch's mean loss by one sample's logits, in the probabilities' place:
/// (probability - target) / num_samples.
///
/// The target is 1 at the label. With `label_smoothing` e it is 1 - e there and e / num_classes more in every class
/// (Szegedy and others, 2015), which is the gradient of the cross-entropy with such targets; the loss that is told
/// stays the label's own.
pub fn softmax_cross_entropy_backward<T: Real>(
    label: usize,
    num_samples: usize,
    label_smoothing: f32,
    probabilities: &mut [T],
) {
    let smoothing = f64::from(label_smoothing);
    probabilities[label] = probabilities[label] - T::from_f64(1.0 - smoothing);
    let everywhere = T::from_f64(smoothing / probabilities.len() as f64);
    let scale = T::from_f64(1.0 / num_samples as f64);
    for value in probabilities {
        *value = (*value - everywhere) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_close, assert_is_gradient, draws};

    fn loss(logits: &[f64], label: usize) -> (SampleLoss, Vec<f64>) {
        let mut probabilities = vec![f64::NAN; logits.len()];
        (softmax_cross_entropy(logits, label, &mut probabilities), probabilities)
    }

    #[test]
    fn the_loss_is_minus_the_logarithm_of_the_labels_probability() {
        let logits = draws(7, 1);
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let expected: Vec<_> = logits.iter().map(|logit| logit.exp() / sum).collect();
        let (sample, probabilities) = loss(&logits, 3);
        assert_close("probabilities", &probabilities, &expected);
        assert_close("loss", &[sample.loss], &[-expected[3].ln()]);
    }

    #[test]
    fn the_gradient_agrees_with_central_differences() {
        let logits = draws(7, 1);
        let (_, mut gradient) = loss(&logits, 3);
        softmax_cross_entropy_backward(3, 4, 0.0, &mut gradient);
        assert_is_gradient("logits", &gradient, &logits, |logits| loss(logits, 3).0.loss / 4.0);
    }

    #[test]
    fn the_gradient_of_smoothed_labels_agrees_with_central_differences() {
        let logits = draws(7, 1);
        let (_, mut gradient) = loss(&logits, 3);
        softmax_cross_entropy_backward(3, 4, 0.25, &mut gradient);
        // The mean over all classes, each as the label, counts a quarter.
        let smoothed = |logits: &[f64]| {
            let of_all = (0..7).map(|label| loss(logits, label).0.loss).sum::<f64>() / 7.0;
            0.75 * loss(logits, 3).0.loss + 0.25 * of_all
        };
        assert_is_gradient("logits", &gradient, &logits, |logits| smoothed(logits) / 4.0);
    }

    #[test]
    fn huge_logits_neither_overflow_nor_vanish() {
        let (sample, probabilities) = loss(&[1e4, 0.0, -1e4], 1);
        assert_eq!((sample.loss, sample.rank), (1e4, 1));
        assert_eq!(probabilities, [1.0, 0.0, 0.0]);
    }

    #[test]
    fn of_equal_logits_exactly_one_is_first() {
        let ranks: Vec<_> = (0..4).map(|label| loss(&[1.0; 4], label).0.rank).collect();
        assert_eq!(ranks, [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_not_a_number_is_never_right_and_shows_in_the_loss() {
        let (sample, _) = loss(&[0.0, f64::NAN, 1.0, 2.0, 3.0, 4.0], 1);
        assert!(sample.loss.is_nan() && sample.rank >= 5, "{sample:?}");
        let (sample, _) = loss(&[9.0, f64::NAN], 0);
        assert!(sample.loss.is_nan() && sample.rank == 1, "{sample:?}");
    }
}
