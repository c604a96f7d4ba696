//! Values that cases compute with, and f64 of what they computed.

use crate::backend::cuda::real::Real;
use crate::synthetic::values::normal;

/// Draws of N(0, 1); others for each `stream`.
pub fn draws(len: usize, stream: u32) -> Vec<f32> {
    normal(0, stream).take(len).collect()
}

/// The same in `R`.
pub fn reals<R: Real>(len: usize, stream: u32) -> Vec<R> {
    draws(len, stream).into_iter().map(R::from_f32).collect()
}

pub fn wide<R: Real>(values: &[R]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.to_f32())).collect()
}

/// The bits of each value widened to f32, so that 0 and -0 are two; NaN where it is no number.
pub fn bits<R: Real>(values: &[R]) -> Vec<f64> {
    let bits = |value: &R| {
        let value = value.to_f32();
        if value.is_nan() { f64::NAN } else { f64::from(value.to_bits()) }
    };
    values.iter().map(bits).collect()
}

/// The sum of each column of (rows, columns).
pub fn column_sums(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).map(|column| values.iter().skip(column).step_by(columns).sum()).collect()
}

/// The largest magnitude; what is not a number does not count.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}
