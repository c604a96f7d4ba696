//! Local response normalisation across channels (section 3.3 of the paper).
//!
//! With s_c = k + alpha * sum over the n channels around c of x^2:
//! forward y_c = x_c s_c^-beta;
//! backward dx_c = dy_c s_c^-beta - 2 alpha beta x_c * sum over the channels j around c of dy_j x_j s_j^(-beta - 1).
//!
//! (`naive` in the tests below is the first line for one value.) The passes go over strips of positions, so that every
//! loop runs along contiguous positions and a strip's squares, read n times, stay in the nearest caches.

use std::ops::Range;

use super::real::Real;
use crate::model::Lrn;

/// Positions of a strip.
const STRIP: usize = 64;

/// Values of scratch that a pass needs.
pub fn scratch_values(channels: usize) -> usize {
    2 * channels * STRIP + STRIP
}

/// input and output (channels, positions).
#[inline(always)]
pub fn lrn_forward<T: Real>(lrn: &Lrn, channels: usize, input: &[T], output: &mut [T], scratch: &mut [T]) {
    if lrn.beta == 0.75 {
        forward(lrn, channels, input, output, scratch, three_quarters);
    } else {
        let exponent = T::from_f64(-f64::from(lrn.beta));
        forward(lrn, channels, input, output, scratch, |scale: T| scale.powf(exponent));
    }
}

/// input and both gradients (channels, positions); `gradient` is of the output.
#[inline(always)]
pub fn lrn_backward<T: Real>(
    lrn: &Lrn,
    channels: usize,
    input: &[T],
    gradient: &[T],
    input_gradient: &mut [T],
    scratch: &mut [T],
) {
    if lrn.beta == 0.75 {
        backward(lrn, channels, input, gradient, input_gradient, scratch, three_quarters);
    } else {
        let exponent = T::from_f64(-f64::from(lrn.beta));
        backward(lrn, channels, input, gradient, input_gradient, scratch, |scale: T| scale.powf(exponent));
    }
}

/// scale^-0.75 by two square roots, which vectorise and powf does not.
#[inline(always)]
fn three_quarters<T: Real>(scale: T) -> T {
    let root = scale.sqrt();
    T::ONE / (root * root.sqrt())
}

#[inline(always)]
fn forward<T: Real>(
    lrn: &Lrn,
    channels: usize,
    input: &[T],
    output: &mut [T],
    scratch: &mut [T],
    power: impl Fn(T) -> T,
) {
    let positions = input.len() / channels;
    let (squares, scales) = scratch.split_at_mut(channels * STRIP);
    for strip in strips(positions) {
        square(input, positions, &strip, squares);
        for channel in 0..channels {
            let scales = &mut scales[..strip.len()];
            scale(lrn, channels, channel, squares, scales);
            let at = channel * positions + strip.start..channel * positions + strip.end;
            for ((to, from), scale) in output[at.clone()].iter_mut().zip(&input[at]).zip(scales) {
                *to = *from * power(*scale);
            }
        }
    }
}

#[inline(always)]
fn backward<T: Real>(
    lrn: &Lrn,
    channels: usize,
    input: &[T],
    gradient: &[T],
    input_gradient: &mut [T],
    scratch: &mut [T],
    power: impl Fn(T) -> T,
) {
    let positions = input.len() / channels;
    let factor = T::from_f64(-2.0 * f64::from(lrn.alpha) * f64::from(lrn.beta));
    let (squares, rest) = scratch.split_at_mut(channels * STRIP);
    let (ratios, scales) = rest.split_at_mut(channels * STRIP);
    for strip in strips(positions) {
        square(input, positions, &strip, squares);
        // First dy s^-beta goes to the input's gradient and dy x s^(-beta - 1) to the ratios.
        for channel in 0..channels {
            let scales = &mut scales[..strip.len()];
            scale(lrn, channels, channel, squares, scales);
            let at = channel * positions + strip.start..channel * positions + strip.end;
            let ratios = &mut ratios[channel * STRIP..][..strip.len()];
            let own = input_gradient[at.clone()].iter_mut().zip(ratios);
            let given = input[at.clone()].iter().zip(&gradient[at]).zip(scales);
            for ((to, ratio), ((x, dy), scale)) in own.zip(given) {
                *to = *dy * power(*scale);
                *ratio = *to * *x / *scale;
            }
        }
        for channel in 0..channels {
            let sums = &mut scales[..strip.len()];
            window_sums(lrn, channels, channel, ratios, sums);
            let at = channel * positions + strip.start..channel * positions + strip.end;
            for ((to, x), sum) in input_gradient[at.clone()].iter_mut().zip(&input[at]).zip(sums) {
                *to += factor * *x * *sum;
            }
        }
    }
}

fn strips(positions: usize) -> impl Iterator<Item = Range<usize>> {
    (0..positions).step_by(STRIP).map(move |start| start..(start + STRIP).min(positions))
}

/// squares (channels, STRIP) of a strip of input (channels, positions).
#[inline(always)]
fn square<T: Real>(input: &[T], positions: usize, strip: &Range<usize>, squares: &mut [T]) {
    for (channel, squares) in input.chunks_exact(positions).zip(squares.chunks_exact_mut(STRIP)) {
        for (square, x) in squares.iter_mut().zip(&channel[strip.clone()]) {
            *square = *x * *x;
        }
    }
}

/// s_c of one channel.
#[inline(always)]
fn scale<T: Real>(lrn: &Lrn, channels: usize, channel: usize, squares: &[T], scales: &mut [T]) {
    window_sums(lrn, channels, channel, squares, scales);
    let (k, alpha) = (T::from_f64(f64::from(lrn.k)), T::from_f64(f64::from(lrn.alpha)));
    for scale in scales {
        *scale = k + alpha * *scale;
    }
}

/// The sums over the n channels around `channel` of values (channels, STRIP).
#[inline(always)]
fn window_sums<T: Real>(lrn: &Lrn, channels: usize, channel: usize, values: &[T], sums: &mut [T]) {
    let half = lrn.n / 2;
    let window = channel.saturating_sub(half)..(channel + half + 1).min(channels);
    sums.copy_from_slice(&values[window.start * STRIP..][..sums.len()]);
    for neighbour in window.start + 1..window.end {
        for (sum, value) in sums.iter_mut().zip(&values[neighbour * STRIP..]) {
            *sum += *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_close, assert_is_gradient, dot, draws};

    /// More than one strip of positions, and channels beyond the window.
    const POSITIONS: usize = STRIP + 6;
    const CHANNELS: usize = 8;

    /// The paper's k, n and beta, and others; alpha large, so that the window matters to values near 1.
    fn cases() -> [Lrn; 3] {
        let lrn = Lrn { k: 2.0, n: 5, alpha: 0.25, beta: 0.75 };
        [lrn, Lrn { beta: 0.5, ..lrn }, Lrn { k: 1.0, n: 3, ..lrn }]
    }

    fn forward(lrn: &Lrn, input: &[f64]) -> Vec<f64> {
        let (mut output, mut scratch) = (vec![0.0; input.len()], vec![f64::NAN; scratch_values(CHANNELS)]);
        lrn_forward(lrn, CHANNELS, input, &mut output, &mut scratch);
        output
    }

    /// Section 3.3's formula for one value.
    fn naive(lrn: &Lrn, input: &[f64], channel: usize, position: usize) -> f64 {
        let half = lrn.n / 2;
        let window = channel.saturating_sub(half)..=(channel + half).min(CHANNELS - 1);
        let sum: f64 = window.map(|other| input[other * POSITIONS + position].powi(2)).sum();
        let scale = f64::from(lrn.k) + f64::from(lrn.alpha) * sum;
        input[channel * POSITIONS + position] / scale.powf(f64::from(lrn.beta))
    }

    #[test]
    fn lrn_is_the_papers_formula() {
        let input = draws(CHANNELS * POSITIONS, 1);
        for lrn in cases() {
            let expected: Vec<_> =
                (0..input.len()).map(|at| naive(&lrn, &input, at / POSITIONS, at % POSITIONS)).collect();
            assert_close("lrn", &forward(&lrn, &input), &expected);
        }
    }

    #[test]
    fn lrn_backward_is_the_gradient_of_lrn_forward() {
        let (input, gradient) = (draws(CHANNELS * POSITIONS, 1), draws(CHANNELS * POSITIONS, 2));
        for lrn in cases() {
            let (mut backward, mut scratch) = (vec![f64::NAN; input.len()], vec![f64::NAN; scratch_values(CHANNELS)]);
            lrn_backward(&lrn, CHANNELS, &input, &gradient, &mut backward, &mut scratch);
            assert_is_gradient("lrn", &backward, &input, |input| dot(&forward(&lrn, input), &gradient));
        }
    }
}
