//! Dropout (section 4.2 of the paper) of one sample's units.

use super::real::Real;
use crate::model::Dropout;
use crate::philox::{Purpose, words};

/// Where a step's random numbers stand; every backend draws the same.
#[derive(Clone, Copy, Debug)]
pub struct DropoutDraw {
    pub seed: u64,
    /// Since the run began.
    pub step: u64,
    /// Counts from 0 (conv1).
    pub layer: usize,
}

/// In training: kept units are multiplied by the training scale, the others cleared. values (features).
///
/// A unit is element sample * features + feature, and kept if its random word is at least p * 2^32.
pub fn dropout_forward<T: Real>(dropout: &Dropout, draw: &DropoutDraw, sample: usize, values: &mut [T]) {
    if dropout.probability == 0.0 {
        return;
    }
    let threshold = (f64::from(dropout.probability) * 4_294_967_296.0).ceil() as u64;
    let scale = T::from_f64(f64::from(dropout.train_scale));
    let first = sample * values.len();
    let mut quad = [0; 4];
    for (element, value) in (first..).zip(values) {
        if element == first || element.is_multiple_of(4) {
            quad = words(draw.seed, Purpose::Dropout, [(element / 4) as u32, draw.step as u32, draw.layer as u32]);
        }
        let kept = u64::from(quad[element % 4]) >= threshold;
        *value = if kept { *value * scale } else { T::ZERO };
    }
}

/// In evaluation: every unit is multiplied by the evaluation scale.
#[inline(always)]
pub fn dropout_evaluate<T: Real>(dropout: &Dropout, values: &mut [T]) {
    if dropout.probability == 0.0 {
        return;
    }
    let scale = T::from_f64(f64::from(dropout.eval_scale));
    for value in values {
        *value *= scale;
    }
}

/// The backward pass of ReLU and dropout together: what ReLU clears and what dropout clears is 0 in the output, so
/// the output tells which units learn.
#[inline(always)]
pub fn relu_dropout_backward<T: Real>(dropout: &Dropout, output: &[T], gradient: &mut [T]) {
    let scale = if dropout.probability == 0.0 { T::ONE } else { T::from_f64(f64::from(dropout.train_scale)) };
    for (gradient, output) in gradient.iter_mut().zip(output) {
        *gradient = if *output > T::ZERO { *gradient * scale } else { T::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: DropoutDraw = DropoutDraw { seed: 5, step: 9, layer: 6 };

    fn dropout(probability: f32) -> Dropout {
        Dropout { probability, train_scale: 1.0 / (1.0 - probability), eval_scale: 1.0 - probability }
    }

    fn kept(probability: f32, draw: &DropoutDraw, sample: usize, num_features: usize) -> Vec<f64> {
        let mut values = vec![1.0; num_features];
        dropout_forward(&dropout(probability), draw, sample, &mut values);
        values
    }

    #[test]
    fn units_are_kept_as_their_words_say() {
        // 6 features: the second sample begins in the middle of four words.
        for sample in 0..3 {
            let expected: Vec<_> = (sample * 6..sample * 6 + 6)
                .map(|element| words(5, Purpose::Dropout, [element as u32 / 4, 9, 6])[element % 4])
                .map(|word| if f64::from(word) >= 0.25 * 2_f64.powi(32) { 1.0 / 0.75 } else { 0.0 })
                .map(|scale: f64| f64::from(scale as f32))
                .collect();
            assert_eq!(kept(0.25, &DRAW, sample, 6), expected);
        }
    }

    #[test]
    fn about_the_given_part_of_the_units_is_dropped() {
        let dropped = kept(0.25, &DRAW, 0, 10_000).iter().filter(|value| **value == 0.0).count();
        // Five deviations of 10,000 draws: 217.
        assert!(dropped.abs_diff(2500) < 217, "{dropped}");
    }

    #[test]
    fn steps_and_layers_drop_different_units() {
        let first = kept(0.5, &DRAW, 0, 64);
        assert_ne!(first, kept(0.5, &DropoutDraw { step: 10, ..DRAW }, 0, 64));
        assert_ne!(first, kept(0.5, &DropoutDraw { layer: 5, ..DRAW }, 0, 64));
        assert_ne!(first, kept(0.5, &DropoutDraw { seed: 6, ..DRAW }, 0, 64));
    }

    #[test]
    fn probability_zero_keeps_everything_as_it_is() {
        assert_eq!(kept(0.0, &DRAW, 0, 8), [1.0; 8]);
    }
}
