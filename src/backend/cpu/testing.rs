//! What the tests of the operations share: synthetic values and central differences.

use crate::synthetic::values::normal;

/// Draws of N(0, 1), other ones for each `stream`.
pub fn draws(len: usize, stream: u32) -> Vec<f64> {
    normal(0, stream).take(len).map(f64::from).collect()
}

/// The dot product: a loss whose gradient by `values` is `weights`.
pub fn dot(values: &[f64], weights: &[f64]) -> f64 {
    assert_eq!(values.len(), weights.len());
    values.iter().zip(weights).map(|(value, weight)| value * weight).sum()
}

/// Compares `gradient` with the central differences of `loss` at `at`.
///
/// The difference errs by h^2 times the third derivative and by the loss's rounding over h: near 1e-9 for losses near
/// 10 and h = 1e-5. A wrong term is off by far more than 1e-6.
pub fn assert_is_gradient(name: &str, gradient: &[f64], at: &[f64], mut loss: impl FnMut(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    assert_eq!(gradient.len(), at.len(), "{name}");
    let mut moved = at.to_vec();
    for (index, gradient) in gradient.iter().enumerate() {
        moved[index] = at[index] + STEP;
        let above = loss(&moved);
        moved[index] = at[index] - STEP;
        let difference = (above - loss(&moved)) / (2.0 * STEP);
        moved[index] = at[index];
        let tolerance = 1e-6 * difference.abs().max(1.0);
        assert!(
            (gradient - difference).abs() < tolerance,
            "{name} [{index}]: {gradient}, differences say {difference}"
        );
    }
}

/// Compares values with an oracle's, to a relative 1e-12: both are f64 and differ in the order of their sums.
pub fn assert_close(name: &str, values: &[f64], expected: &[f64]) {
    assert_eq!(values.len(), expected.len(), "{name}");
    for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
        assert!(
            (value - expected).abs() < 1e-12 * expected.abs().max(1.0),
            "{name} [{index}]: {value}, not {expected}"
        );
    }
}
