//! ReLU: max(x, 0) (section 3.1 of the paper), in place.

use super::real::Real;

/// x = max(x, 0). What is not a number stays so, and shows in the loss.
#[inline(always)]
pub fn relu_forward<T: Real>(values: &mut [T]) {
    for value in values {
        *value = if *value < T::ZERO { T::ZERO } else { *value };
    }
}

/// Clears the gradients of units that gave nothing: output is ReLU's own.
#[inline(always)]
pub fn relu_backward<T: Real>(output: &[T], gradient: &mut [T]) {
    for (gradient, output) in gradient.iter_mut().zip(output) {
        *gradient = if *output > T::ZERO { *gradient } else { T::ZERO };
    }
}

/// As [`relu_backward`], the gradient taking the output's place.
#[inline(always)]
pub fn relu_backward_onto<T: Real>(gradient: &[T], output: &mut [T]) {
    for (output, gradient) in output.iter_mut().zip(gradient) {
        *output = if *output > T::ZERO { *gradient } else { T::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_passes_what_is_positive_and_its_gradient() {
        let mut values = [-1.0, 0.0, 2.0, f64::NEG_INFINITY];
        relu_forward(&mut values);
        assert_eq!(values, [0.0, 0.0, 2.0, 0.0]);
        let mut gradient = [3.0, 4.0, 5.0, 6.0];
        relu_backward(&values, &mut gradient);
        assert_eq!(gradient, [0.0, 0.0, 5.0, 0.0]);
        relu_backward_onto(&[3.0, 4.0, 5.0, 6.0], &mut values);
        assert_eq!(values, gradient);
    }

    #[test]
    fn relu_lets_what_is_not_a_number_through_to_the_loss() {
        let mut values = [f32::NAN];
        relu_forward(&mut values);
        assert!(values[0].is_nan());
    }
}
