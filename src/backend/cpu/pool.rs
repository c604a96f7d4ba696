//! Overlapping max pooling (section 3.4 of the paper).
//!
//! output[row][column] = the maximum of input[row * stride + y][column * stride + x] over y and x below `window`. Its
//! argmax, to which the gradient goes, is the first maximum, row by row, as in PyTorch; what is not a number counts as
//! the maximum, so that it shows in the loss. (`naive` in the tests below is this sentence in code.)
//!
//! The idea is to go down the columns first and across them then. Both are loops over contiguous values, which
//! vectorise, and the windows that overlap share the first:
//!
//! ```text
//! for each row of windows:
//!     for each input row under it:
//!         column_max = max(column_max, row), and column_argmax = its index where the row is higher
//!     output = every stride-th value of column_max, argmax likewise
//!     for x in 1..window:
//!         shifted_max = every stride-th value of column_max[x..], shifted_argmax likewise
//!         output = max(output, shifted_max), and argmax where it is higher, or equal and earlier
//! ```
//!
//! An argmax is an index into its channel, row * in_side + column, kept as a `T` like the values: then one comparison
//! selects both in the same lanes of a vector, without a conversion. f32 holds every whole number up to
//! [`MOST_CHANNEL_VALUES`], so no channel may be larger, which [`super::tail::TailOps`] asserts.

use std::array::from_fn;

use super::real::Real;
use super::stride::take_every;
use crate::model::Pool;

/// Up to here f32 holds every index exactly: 2^24, a channel of 4096 x 4096.
pub const MOST_CHANNEL_VALUES: usize = 1 << f32::MANTISSA_DIGITS;

/// Lines of short rows are filled up to whole vectors with what stands behind them: the compiler's loops take as long
/// for a rest as for the whole.
const VECTOR: usize = 8;

/// Values of scratch that a pass needs: five lines.
pub fn scratch_values(pool: &Pool, in_side: usize) -> usize {
    5 * line_values(pool, in_side)
}

/// The columns under a row of windows, both filled up.
fn line_values(pool: &Pool, in_side: usize) -> usize {
    let out_side = (in_side - pool.window) / pool.stride + 1;
    let windows = out_side.next_multiple_of(VECTOR) * pool.stride + pool.window;
    in_side.next_multiple_of(VECTOR).max(windows)
}

/// input (channels, in_side, in_side) to output (channels, out_side, out_side), for evaluation: without an argmax.
#[inline(always)]
pub fn pool_forward<T: Real>(pool: &Pool, in_side: usize, input: &[T], output: &mut [T], scratch: &mut [T]) {
    let out_side = (in_side - pool.window) / pool.stride + 1;
    let (highest, column) = scratch[..2 * in_side].split_at_mut(in_side);
    let column = &mut column[..out_side];
    let channels = input.chunks_exact(in_side * in_side).zip(output.chunks_exact_mut(out_side * out_side));
    for (input, output) in channels {
        for (out_row, output) in output.chunks_exact_mut(out_side).enumerate() {
            let rows = &input[out_row * pool.stride * in_side..][..pool.window * in_side];
            highest.copy_from_slice(&rows[..in_side]);
            for row in rows.chunks_exact(in_side).skip(1) {
                for (highest, value) in highest.iter_mut().zip(row) {
                    *highest = higher(*highest, *value);
                }
            }
            take_every(pool.stride, highest, output);
            for start in 1..pool.window {
                take_every(pool.stride, &highest[start..], column);
                for (highest, value) in output.iter_mut().zip(&*column) {
                    *highest = higher(*highest, *value);
                }
            }
        }
    }
}

/// As [`pool_forward`], and argmax (channels, out_side, out_side).
#[inline(always)]
pub fn pool_forward_with_argmax<T: Real>(
    pool: &Pool,
    in_side: usize,
    input: &[T],
    output: &mut [T],
    argmax: &mut [T],
    scratch: &mut [T],
) {
    let out_side = (in_side - pool.window) / pool.stride + 1;
    let (in_width, out_width) = (in_side.next_multiple_of(VECTOR), out_side.next_multiple_of(VECTOR));
    // column_numbers are 0, 1, 2 and so on; of the others the first in_width or out_width values are used.
    let mut lines = scratch.chunks_exact_mut(line_values(pool, in_side));
    let [column_numbers, column_max, column_argmax, shifted_max, shifted_argmax] =
        from_fn(|_| lines.next().expect("five lines"));
    column_numbers.iter_mut().enumerate().for_each(|(column, number)| *number = T::from_f64(column as f64));
    for out_row in 0..output.len() / out_side {
        let (channel, first_row) = (out_row / out_side, out_row % out_side * pool.stride);
        let input = &input[channel * in_side * in_side..];
        for row in first_row..first_row + pool.window {
            let (values, row_index) = (&input[row * in_side..], T::from_f64((row * in_side) as f64));
            let so_far = column_max[..in_width].iter_mut().zip(&mut column_argmax[..in_width]);
            let columns = so_far.zip(values.iter().zip(&*column_numbers));
            if row == first_row {
                for ((max, argmax), (value, column)) in columns {
                    (*max, *argmax) = (*value, row_index + *column);
                }
            } else {
                for ((max, argmax), (value, column)) in columns {
                    let is_higher = is_higher(*value, *max);
                    *max = if is_higher { *value } else { *max };
                    *argmax = if is_higher { row_index + *column } else { *argmax };
                }
            }
        }
        // What is too much, the next row overwrites.
        let width = out_width.min(output.len() - out_row * out_side);
        let (output, argmax) = (&mut output[out_row * out_side..][..width], &mut argmax[out_row * out_side..][..width]);
        take_every(pool.stride, column_max, output);
        take_every(pool.stride, column_argmax, argmax);
        let (shifted_max, shifted_argmax) = (&mut shifted_max[..width], &mut shifted_argmax[..width]);
        for start in 1..pool.window {
            take_every(pool.stride, &column_max[start..], shifted_max);
            take_every(pool.stride, &column_argmax[start..], shifted_argmax);
            let so_far = output.iter_mut().zip(argmax.iter_mut());
            for ((max, argmax), (value, index)) in so_far.zip(shifted_max.iter().zip(&*shifted_argmax)) {
                let is_better = is_higher(*value, *max) | ((*value == *max) & (*index < *argmax));
                *max = if is_better { *value } else { *max };
                *argmax = if is_better { *index } else { *argmax };
            }
        }
    }
}

/// input_gradient (channels, in_side, in_side), from argmax and the gradient of the output (channels, out_side,
/// out_side).
#[inline(always)]
pub fn pool_backward<T: Real>(channels: usize, argmax: &[T], gradient: &[T], input_gradient: &mut [T]) {
    input_gradient.fill(T::ZERO);
    let in_values = input_gradient.len() / channels;
    let outputs = argmax.chunks_exact(argmax.len() / channels).zip(gradient.chunks_exact(gradient.len() / channels));
    for (input_gradient, (argmax, gradient)) in input_gradient.chunks_exact_mut(in_values).zip(outputs) {
        for (index, gradient) in argmax.iter().zip(gradient) {
            input_gradient[index.to_f64() as usize] += *gradient;
        }
    }
}

#[inline(always)]
fn higher<T: Real>(highest: T, value: T) -> T {
    if is_higher(value, highest) { value } else { highest }
}

/// Whether `value` is above `highest` or not a number.
#[inline(always)]
#[expect(clippy::eq_op, reason = "only what is not a number differs from itself")]
fn is_higher<T: Real>(value: T, highest: T) -> bool {
    value > highest || value != value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_is_gradient, dot, draws};

    const POOL: Pool = Pool { window: 3, stride: 2 };

    fn forward(pool: &Pool, in_side: usize, input: &[f64]) -> Vec<f64> {
        let out_side = (in_side - pool.window) / pool.stride + 1;
        let mut output = vec![f64::NAN; input.len() / (in_side * in_side) * out_side * out_side];
        pool_forward(pool, in_side, input, &mut output, &mut vec![f64::NAN; scratch_values(&POOL, in_side)]);
        output
    }

    /// Of one channel or more; the outputs of both ways forward are the same.
    fn backward(in_side: usize, input: &[f64], gradient: &[f64]) -> Vec<f64> {
        let (mut output, mut argmax) = (vec![f64::NAN; gradient.len()], vec![f64::NAN; gradient.len()]);
        let mut scratch = vec![f64::NAN; scratch_values(&POOL, in_side)];
        pool_forward_with_argmax(&POOL, in_side, input, &mut output, &mut argmax, &mut scratch);
        assert_eq!(output, forward(&POOL, in_side, input));
        let mut backward = vec![f64::NAN; input.len()];
        pool_backward(input.len() / (in_side * in_side), &argmax, gradient, &mut backward);
        backward
    }

    fn naive(pool: &Pool, in_side: usize, input: &[f64]) -> Vec<f64> {
        let out_side = (in_side - pool.window) / pool.stride + 1;
        let windows = input.chunks(in_side * in_side).flat_map(|image| {
            (0..out_side * out_side).map(move |at| (image, at / out_side * pool.stride, at % out_side * pool.stride))
        });
        let window = |image: &[f64], row: usize, column: usize| {
            let inside = (0..pool.window * pool.window)
                .map(|at| image[(row + at / pool.window) * in_side + column + at % pool.window]);
            inside.fold(f64::NEG_INFINITY, f64::max)
        };
        windows.map(|(image, row, column)| window(image, row, column)).collect()
    }

    #[test]
    fn pooling_takes_the_maximum_of_every_window() {
        // Sides whose last pixels a window reaches (7) and does not reach (8).
        for in_side in [3, 7, 8] {
            let input = draws(2 * in_side * in_side, 1);
            assert_eq!(forward(&POOL, in_side, &input), naive(&POOL, in_side, &input));
        }
        let apart = Pool { window: 2, stride: 2 };
        let input = draws(2 * 8 * 8, 1);
        assert_eq!(forward(&apart, 8, &input), naive(&apart, 8, &input));
    }

    #[test]
    fn pool_backward_is_the_gradient_of_pool_forward() {
        for in_side in [7, 8] {
            let (input, gradient) = (draws(2 * in_side * in_side, 1), draws(2 * 3 * 3, 2));
            let backward = backward(in_side, &input, &gradient);
            assert_is_gradient("pool", &backward, &input, |input| dot(&forward(&POOL, in_side, input), &gradient));
        }
    }

    #[test]
    fn the_gradient_of_equal_values_goes_to_the_first() {
        let input = [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let backward = backward(3, &input, &[5.0]);
        assert_eq!(backward, [0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn pooling_lets_what_is_not_a_number_through_to_the_loss() {
        for at in 0..9 {
            let mut input = [1.0; 9];
            input[at] = f64::NAN;
            assert!(forward(&POOL, 3, &input)[0].is_nan(), "at {at}");
        }
    }
}
