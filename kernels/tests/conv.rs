//! kernels/input.cu, conv_tail_forward.cu, conv_tail_backward.cu, pooled_lrn.cu, bias_relu.cu, and mask_taps.

use half::{bf16, f16};

use super::super::conv::{ConvTail, TailKernel, TailOrder};
use super::super::{Scalars, int, num_bias_partials, shapes};
use super::host::run;
use super::{Tolerance, assert_close, draws, in_any_order, poisoned, reals, rounded, wide};
use crate::backend::cpu::tail::TailOps;
use crate::backend::cuda::driver::LaunchShape;
use crate::backend::cuda::real::Real;
use crate::model::{ConvBlock, Lrn, Pool, Tail};

/// alpha large, so that the window matters to values near 1, and so that no two of a pooling window's are equal but for
/// f32's rounding.
const LRN: Lrn = Lrn { k: 2.0, n: 5, alpha: 0.25, beta: 0.75 };

/// A tail and its data, (N, side, side, channels).
struct Case<R> {
    block: ConvBlock,
    tail: ConvTail,
    num_samples: usize,
    num_partials: usize,
    convolved: Vec<R>,
    bias: Vec<R>,
    output_gradient: Vec<R>,
}

/// What conv_tail_forward writes.
#[derive(Clone)]
struct Forward<R> {
    output: Vec<R>,
    argmax: Vec<u8>,
}

impl<R: Real> Case<R> {
    fn new(num_samples: usize, channels: usize, side: usize, tail: &[Tail]) -> Self {
        let out_side = (side - 3) / 2 + 1;
        let block = ConvBlock {
            in_channels: 8,
            in_side: side,
            out_channels: channels,
            kernel: 1,
            stride: 1,
            pad: 0,
            groups: 1,
            conv_side: side,
            out_side,
            tail: tail.to_vec(),
        };
        let tail = ConvTail::new(&block).unwrap().expect("the tails of these tests pool");
        Self {
            tail,
            num_samples,
            num_partials: tail.num_partials(num_samples),
            convolved: reals(num_samples * side * side * channels, 1),
            bias: reals(channels, 2),
            output_gradient: reals(num_samples * out_side * out_side * channels, 3),
            block,
        }
    }

    fn name(&self) -> String {
        let ConvBlock { out_channels, conv_side, tail, .. } = &self.block;
        format!("{} of ({}, {conv_side}, {conv_side}, {out_channels}), {tail:?}", R::DEFINITION, self.num_samples)
    }

    /// As the kernels take them: num_samples, channels, side and out_side.
    fn sizes(&self) -> [i32; 4] {
        [self.num_samples, self.tail.channels, self.tail.side, self.tail.out_side].map(int)
    }

    fn pooled_shape(&self) -> LaunchShape {
        shapes::pooled_lrn(self.num_samples * self.tail.out_side.pow(2), self.tail.channels)
    }

    fn forward(&self, order: u32) -> Forward<R> {
        let ConvTail { channels, out_side, order: tail_order, lrn, .. } = self.tail;
        let len = self.output_gradient.len();
        let mut forward = Forward { output: poisoned::<R>(len), argmax: vec![255; len] };
        let name = TailKernel::FORWARD[self.tail.kernel() as usize];
        let shape = shapes::conv_tail_forward(self.num_samples, channels, out_side);
        let (convolved, bias) = (self.convolved.as_ptr(), self.bias.as_ptr());
        let (output, argmax) = (forward.output.as_mut_ptr(), forward.argmax.as_mut_ptr());
        let [n, channels, side, out_side] = self.sizes();
        let tail = tail_order as i32;
        run!(R, name, shape, order, [convolved, bias, output, argmax, n, channels, side, out_side, tail, lrn]);
        if tail_order == TailOrder::ReluPoolLrn {
            let (name, shape) = ("pooled_lrn_forward", self.pooled_shape());
            run!(R, name, shape, order, [convolved, bias, argmax, output, n, channels, side, out_side, lrn]);
        }
        forward
    }

    /// The gradient of the convolution's output, and of the bias by parts.
    fn backward(&self, forward: &Forward<R>, order: u32) -> (Vec<R>, Vec<f32>) {
        let ConvTail { channels, order: tail_order, lrn, .. } = self.tail;
        let (mut convolved, mut output_gradient) = (self.convolved.clone(), self.output_gradient.clone());
        let mut bias_partials = vec![f32::NAN; self.num_partials * channels];
        let shape = shapes::conv_tail_backward(channels, self.tail.side, self.num_partials);
        let (values, bias, gradient) = (convolved.as_mut_ptr(), self.bias.as_ptr(), output_gradient.as_mut_ptr());
        let argmax = forward.argmax.as_ptr();
        let [n, channels, side, out_side] = self.sizes();
        if tail_order == TailOrder::ReluPoolLrn {
            let (name, shape) = ("pooled_lrn_backward", self.pooled_shape());
            run!(R, name, shape, order, [values, bias, argmax, gradient, n, channels, side, out_side, lrn]);
        }
        let name = TailKernel::BACKWARD[self.tail.kernel() as usize];
        let (partials, num_partials, tail) = (bias_partials.as_mut_ptr(), int(self.num_partials), tail_order as i32);
        run!(
            R,
            name,
            shape,
            order,
            [values, bias, gradient, argmax, partials, n, channels, side, out_side, num_partials, tail, lrn]
        );
        (convolved, bias_partials)
    }

    /// The CPU's output and gradient of the convolution's output, both in NHWC.
    fn oracle(&self) -> (Vec<f64>, Vec<f64>) {
        let ops = TailOps::new(&self.block);
        let (channels, in_area) = (self.tail.channels, self.tail.side.pow(2));
        let out_area = self.tail.out_side.pow(2);
        let (mut outputs, mut gradients) = (Vec::new(), Vec::new());
        let mut scratch = vec![f64::NAN; ops.scratch_values()];
        let samples = wide(&self.convolved);
        let samples = samples.chunks(channels * in_area).zip(self.output_gradient.chunks(channels * out_area));
        for (convolved, gradient) in samples {
            let mut image = turned(convolved, in_area, channels);
            for (values, bias) in image.chunks_mut(in_area).zip(wide(&self.bias)) {
                values.iter_mut().for_each(|value| *value += bias);
            }
            let (mut output, mut gradient) =
                (vec![f64::NAN; channels * out_area], turned(&wide(gradient), out_area, channels));
            let mut argmax = vec![f64::NAN; ops.argmax_values()];
            ops.forward(&mut image, &mut output, Some(&mut argmax), &mut scratch);
            ops.backward(&mut image, &output, &argmax, &mut gradient, &mut scratch);
            outputs.extend(turned(&output, channels, out_area));
            gradients.extend(turned(&image, channels, in_area));
        }
        (outputs, gradients)
    }

    fn assert_is_the_cpus(&self) {
        let name = self.name();
        let forward = self.forward(0);
        let (output, gradient) = self.oracle();
        assert_close(&name, &wide(&forward.output), &output, rounded::<R>());
        let (backward, bias_partials) = self.backward(&forward, 0);
        // Terms of dx cancel; the order ReLU, pool, LRN also rounds the pooled values' gradient, up to four of which
        // meet.
        let own = rounded::<R>();
        let between = if self.tail.order == TailOrder::ReluPoolLrn { 2.0 * own.relative } else { 0.0 };
        let tolerance = Tolerance { relative: own.relative, absolute: own.absolute + between };
        assert_close(&format!("gradient, {name}"), &wide(&backward), &gradient, tolerance);
        let channels = self.tail.channels;
        let sums = column_sums(&bias_partials.iter().map(|sum| f64::from(*sum)).collect::<Vec<_>>(), channels);
        // A sum over n pixels errs by its terms' errors, of either sign: by their root, not by n of them.
        let num_pixels = (gradient.len() / channels) as f64;
        let absolute = (own.absolute + between) * num_pixels.sqrt();
        assert_close(
            &format!("bias, {name}"),
            &sums,
            &column_sums(&gradient, channels),
            Tolerance { relative: 0.0, absolute },
        );
    }
}

/// (rows, columns) to (columns, rows).
fn turned(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

fn column_sums(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).map(|column| values.iter().skip(column).step_by(columns).sum()).collect()
}

/// ReLU, LRN and pooling in each of the network's orders.
fn tails(lrn: Lrn) -> [Vec<Tail>; 4] {
    let (relu, lrn, pool) = (Tail::Relu, Tail::Lrn(lrn), Tail::Pool(Pool { window: 3, stride: 2 }));
    [vec![relu, lrn, pool], vec![relu, pool, lrn], vec![lrn, pool, relu], vec![relu, pool]]
}

fn tails_are_the_cpus<R: Real>() {
    // Sides whose last pixels a window reaches (odd) and does not reach; channels of one octet, of a part of a warp, of
    // more than a block takes beside one another.
    let shapes = [(3, 8, 3), (1, 24, 6), (3, 96, 7), (1, 256, 13), (1, 8, 27), (3, 264, 8)];
    for lrn in [LRN, Lrn { beta: 0.5, ..LRN }, Lrn { n: 3, ..LRN }, Lrn { n: 9, k: 1.0, ..LRN }] {
        for (num_samples, channels, side) in shapes {
            for tail in tails(lrn) {
                Case::<R>::new(num_samples, channels, side, &tail).assert_is_the_cpus();
            }
        }
    }
}

#[test]
fn tails_in_bf16_are_the_cpus() {
    tails_are_the_cpus::<bf16>();
}

#[test]
fn tails_in_f32_are_the_cpus() {
    tails_are_the_cpus::<f32>();
}

#[test]
fn tails_of_the_papers_shapes_are_the_cpus() {
    let paper = Lrn { alpha: 1e-4, ..LRN };
    for (channels, side) in [(96, 55), (256, 27)] {
        Case::<f32>::new(1, channels, side, &tails(paper)[0]).assert_is_the_cpus();
    }
    Case::<bf16>::new(2, 256, 13, &tails(paper)[3]).assert_is_the_cpus();
}

#[test]
fn a_block_that_takes_many_samples_finds_each() {
    let mut case = Case::<f32>::new(60, 8, 3, &tails(LRN)[0]);
    case.num_partials = 1;
    case.assert_is_the_cpus();
}

#[test]
fn tails_give_the_same_bits_in_any_order_of_threads() {
    for lrn in [LRN, Lrn { n: 7, ..LRN }] {
        for tail in tails(lrn) {
            let case = Case::<bf16>::new(2, 72, 9, &tail);
            let name = case.name();
            let argmax = in_any_order(&name, |order| case.forward(order).argmax);
            let output = in_any_order(&name, |order| case.forward(order).output);
            let forward = Forward { output, argmax };
            in_any_order(&name, |order| case.backward(&forward, order).0);
            in_any_order(&name, |order| case.backward(&forward, order).1);
        }
    }
}

#[test]
fn the_first_of_equal_values_wins_its_window() {
    for tail in tails(LRN) {
        let mut case = Case::<bf16>::new(1, 8, 5, &tail);
        case.convolved.fill(bf16::ONE);
        case.bias.fill(bf16::ZERO);
        assert_eq!(case.forward(0).argmax, [0; 4 * 8], "{tail:?}");
        // The middle pixel is the last of the first window, and the first of the last.
        case.convolved[12 * 8..13 * 8].fill(bf16::from_f32(2.0));
        let argmax = case.forward(0).argmax;
        assert_eq!(argmax.chunks(8).map(|window| window[0]).collect::<Vec<_>>(), [8, 6, 2, 0], "{tail:?}");
    }
}

#[test]
fn what_is_not_a_number_wins_its_windows_and_shows() {
    for tail in tails(LRN) {
        for at in 0..9 {
            let mut case = Case::<f32>::new(1, 8, 3, &tail);
            case.convolved.fill(1.0);
            case.convolved[at * 8..(at + 1) * 8].fill(f32::NAN);
            let forward = case.forward(0);
            assert_eq!(forward.argmax, [at as u8; 8], "{tail:?}");
            assert!(forward.output.iter().all(|value| value.is_nan()), "{tail:?}");
        }
    }
}

fn bias_and_relu_are_the_cpus<R: Real>() {
    for (rows, channels) in [(1, 8), (300, 24), (77, 384), (19, 520)] {
        let name = format!("{} of ({rows}, {channels})", R::DEFINITION);
        let (values, bias, gradient) =
            (reals::<R>(rows * channels, 1), reals::<R>(channels, 2), reals::<R>(rows * channels, 3));
        let output = in_any_order(&name, |order| {
            let mut values = values.clone();
            let shape = shapes::octets(rows * channels);
            run!(R, "bias_relu_forward", shape, order, [values.as_mut_ptr(), bias.as_ptr(), int(rows), int(channels)]);
            values
        });
        let expected: Vec<R> = (values.iter().enumerate())
            .map(|(at, value)| R::from_f32((value.to_f32() + bias[at % channels].to_f32()).max(0.0)))
            .collect();
        assert_eq!(wide(&output), wide(&expected), "{name}");
        let num_partials = num_bias_partials(rows, channels);
        let backward = |order| {
            let (mut gradient, mut partials) = (gradient.clone(), vec![f32::NAN; num_partials * channels]);
            run!(
                R,
                "bias_relu_backward",
                shapes::bias_relu_backward(channels, num_partials),
                order,
                [
                    output.as_ptr(),
                    gradient.as_mut_ptr(),
                    partials.as_mut_ptr(),
                    int(rows),
                    int(channels),
                    int(num_partials),
                ]
            );
            (gradient, partials)
        };
        let passed = wide(&in_any_order(&name, |order| backward(order).0));
        let kept = |(gradient, output): (f64, f64)| if output > 0.0 { gradient } else { 0.0 };
        let expected: Vec<_> = wide(&gradient).into_iter().zip(wide(&output)).map(kept).collect();
        assert_eq!(passed, expected, "{name}");
        let partials = in_any_order(&name, |order| backward(order).1);
        let sums = in_any_order(&name, |order| {
            let mut sums = poisoned::<R>(channels);
            run!(
                R,
                "sum_bias_partials",
                shapes::sum_bias_partials(channels),
                order,
                [partials.as_ptr(), sums.as_mut_ptr(), int(num_partials), int(channels)]
            );
            sums
        });
        // f32's rounding in sums of up to 300 values.
        let absolute = 300_f64.sqrt() * rounded::<f32>().absolute;
        let tolerance = Tolerance { relative: rounded::<R>().relative, absolute };
        assert_close(&name, &wide(&sums), &column_sums(&expected, channels), tolerance);
    }
}

#[test]
fn bias_and_relu_of_a_convolution_are_the_cpus() {
    bias_and_relu_are_the_cpus::<bf16>();
    bias_and_relu_are_the_cpus::<f32>();
}

fn arranged<R: Real>(input: &[f16], num_samples: usize, num_valid: u32, canvas: usize, order: u32) -> Vec<R> {
    let side = (canvas - 11) / 4 + 3;
    let scalars = Scalars { step: 3, learning_rate: 0.5, num_valid };
    let mut output = poisoned::<R>(num_samples * side * side * 64);
    run!(
        R,
        "arrange_input",
        shapes::arrange_input(num_samples, side),
        order,
        [input.as_ptr(), output.as_mut_ptr(), &raw const scalars, int(num_samples), int(canvas), int(side)]
    );
    output
}

fn input_goes_to_its_place<R: Real>(num_samples: usize, num_valid: u32, canvas: usize) {
    let side = (canvas - 11) / 4 + 3;
    let input: Vec<f16> = draws(num_samples * 3 * canvas * canvas, 1).into_iter().map(f16::from_f64).collect();
    let name = format!("{} of {num_samples} x {canvas}", R::DEFINITION);
    let output = in_any_order(&name, |order| arranged::<R>(&input, num_samples, num_valid, canvas, order));
    for (at, value) in output.iter().enumerate() {
        let (channel, column, row, sample) = (at % 64, at / 64 % side, at / 64 / side % side, at / 64 / side / side);
        let (y, x, colour) = (4 * row + channel / 12, 4 * column + channel / 3 % 4, channel % 3);
        let is_inside = channel < 48 && y < canvas && x < canvas && sample < num_valid as usize;
        let expected = if is_inside { input[((sample * 3 + colour) * canvas + y) * canvas + x].to_f32() } else { 0.0 };
        assert_eq!(value.to_f32(), R::from_f32(expected).to_f32(), "{name} [{sample}, {row}, {column}, {channel}]");
    }
}

#[test]
fn every_pixel_of_the_input_goes_to_its_place() {
    input_goes_to_its_place::<bf16>(2, 1, 227);
    input_goes_to_its_place::<f32>(3, 3, 67);
    // More than one block in a row.
    input_goes_to_its_place::<bf16>(1, 1, 300);
}

#[test]
fn pixels_are_padded_to_eight_channels() {
    let (num_samples, canvas) = (3, 19);
    let input: Vec<f16> = draws(num_samples * 3 * canvas * canvas, 1).into_iter().map(f16::from_f64).collect();
    let scalars = Scalars { step: 3, learning_rate: 0.5, num_valid: 2 };
    let output = in_any_order("pad_input", |order| {
        let mut output = poisoned::<bf16>(num_samples * canvas * canvas * 8);
        run!(
            bf16,
            "pad_input",
            shapes::pad_input(num_samples, canvas),
            order,
            [input.as_ptr(), output.as_mut_ptr(), &raw const scalars, int(num_samples), int(canvas)]
        );
        output
    });
    for (at, value) in output.iter().enumerate() {
        let (channel, pixel, sample) = (at % 8, at / 8 % (canvas * canvas), at / 8 / (canvas * canvas));
        let is_inside = channel < 3 && sample < 2;
        let expected = if is_inside { input[(sample * 3 + channel) * canvas * canvas + pixel].to_f32() } else { 0.0 };
        assert_eq!(value.to_f32(), bf16::from_f32(expected).to_f32(), "[{sample}, {pixel}, {channel}]");
    }
}

#[test]
fn every_half_number_is_read_exactly() {
    // 65,536 of them, as one sample of 3 x 148 x 148 values.
    let canvas = 148;
    let side = (canvas - 11) / 4 + 3;
    let input: Vec<f16> = (0..3 * canvas * canvas).map(|at| f16::from_bits(at as u16)).collect();
    let output = arranged::<f32>(&input, 1, 1, canvas, 0);
    for (at, value) in input.iter().enumerate() {
        let (x, y, colour) = (at % canvas, at / canvas % canvas, at / canvas / canvas);
        let own = output[((y / 4) * side + x / 4) * 64 + (y % 4 * 4 + x % 4) * 3 + colour];
        assert!(own.to_bits() == value.to_f32().to_bits() || (own.is_nan() && value.is_nan()), "{value:?}: {own}");
    }
}

#[test]
fn the_padding_of_conv1_is_cleared() {
    let out_channels = 24;
    let gradient = reals::<bf16>(out_channels * 9 * 64, 1);
    for kernel_size in [7, 11, 12] {
        let mut masked = gradient.clone();
        run!(
            bf16,
            "mask_taps",
            shapes::mask_taps(out_channels),
            0,
            [masked.as_mut_ptr(), int(out_channels), int(kernel_size)]
        );
        let mut num_kept = 0;
        for (at, (value, before)) in masked.iter().zip(&gradient).enumerate() {
            let (channel, tap) = (at % 64, at / 64 % 9);
            let is_kept =
                channel < 48 && tap / 3 * 4 + channel / 12 < kernel_size && tap % 3 * 4 + channel / 3 % 4 < kernel_size;
            num_kept += usize::from(is_kept);
            assert_eq!(value.to_f32(), if is_kept { before.to_f32() } else { 0.0 }, "[{at}]");
        }
        assert_eq!(num_kept, out_channels * kernel_size * kernel_size * 3);
    }
}
