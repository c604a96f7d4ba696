//! What the tail of a convolution is tried on, and what the CPU makes of it in f64, one image at a time.

use super::values::{reals, wide};
use crate::backend::compared::Axis;
use crate::backend::cpu::tail::TailOps;
use crate::backend::cuda::kernels::ConvTail;
use crate::backend::cuda::real::Real;
use crate::model::{ConvBlock, Lrn, Pool, Tail};

/// alpha large, so that the window matters to values near 1, and so that no two of a pooling window's are equal but for
/// f32's rounding.
pub const LRN: Lrn = Lrn { k: 2.0, n: 5, alpha: 0.25, beta: 0.75 };
/// Those that take the kernels for any n and beta.
pub const OTHER_LRNS: [Lrn; 3] = [Lrn { beta: 0.5, ..LRN }, Lrn { n: 3, ..LRN }, Lrn { n: 9, k: 1.0, ..LRN }];

pub const POOL: Tail = Tail::Pool(Pool { window: 3, stride: 2 });

/// Samples, channels and side. Sides whose last pixels a window reaches (odd) and does not reach; channels of one
/// octet, of a part of a warp, of more than a block takes beside one another; more pairs of rows than the backward
/// kernel makes parts.
pub const SHAPES: [(usize, usize, usize); 7] =
    [(3, 8, 3), (1, 24, 6), (3, 96, 7), (1, 256, 13), (1, 8, 27), (3, 264, 8), (300, 8, 3)];

/// Where the argmax is not among a window's.
const NOWHERE: u8 = 255;

/// A tail and its data, (N, side, side, channels).
pub struct TailInput<R> {
    pub tail: ConvTail,
    pub num_samples: usize,
    pub channels: usize,
    pub side: usize,
    pub out_side: usize,
    pub convolved: Vec<R>,
    pub bias: Vec<R>,
    pub output_gradient: Vec<R>,
    operations: Vec<Tail>,
}

/// The CPU's, all with channels last.
#[derive(Default)]
pub struct Expected {
    /// (N, side, side, channels): what is pooled.
    pub before_pooling: Vec<f64>,
    /// (N, out_side, out_side, channels): what pooling leaves.
    pub pooled: Vec<f64>,
    /// Likewise, after the last operation.
    pub output: Vec<f64>,
    /// Likewise: row * 3 + column in the window.
    pub argmax: Vec<u8>,
    /// Of the convolution's output.
    pub gradient: Vec<f64>,
}

impl<R: Real> TailInput<R> {
    pub fn new((num_samples, channels, side): (usize, usize, usize), operations: &[Tail]) -> Self {
        let out_side = (side - 3) / 2 + 1;
        let block = block(channels, side, out_side, operations);
        Self {
            tail: ConvTail::new(&block).expect("a tail with kernels").expect("it pools"),
            num_samples,
            channels,
            side,
            out_side,
            convolved: reals(num_samples * side * side * channels, 1),
            bias: reals(channels, 2),
            output_gradient: reals(num_samples * out_side * out_side * channels, 3),
            operations: operations.to_vec(),
        }
    }

    /// Equal values in every window: the first of them wins. In the second of two samples the middle pixel is higher:
    /// the last of the first window, and the first of the last.
    pub fn with_equal_values(operations: &[Tail]) -> Self {
        let mut input = Self::new((2, 8, 5), operations);
        input.convolved.fill(R::from_f32(1.0));
        input.bias.fill(R::from_f32(0.0));
        input.convolved[(25 + 12) * 8..(25 + 13) * 8].fill(R::from_f32(2.0));
        input
    }

    /// One window a sample, each with NaN in another place: it wins, and shows.
    pub fn with_nan(operations: &[Tail]) -> Self {
        let mut input = Self::new((9, 8, 3), operations);
        input.convolved.fill(R::from_f32(1.0));
        for sample in 0..9 {
            input.convolved[(sample * 9 + sample) * 8..][..8].fill(R::from_f32(f32::NAN));
        }
        input
    }

    /// `of (3, 7, 7, 96), ReLU LRN (n 5, beta 0.75) pooling`.
    pub fn name(&self) -> String {
        let operation = |tail: &Tail| match tail {
            Tail::Relu => "ReLU".to_owned(),
            Tail::Lrn(Lrn { n, beta, .. }) => format!("LRN (n {n}, beta {beta})"),
            Tail::Pool(_) => "pooling".to_owned(),
        };
        let operations: Vec<_> = self.operations.iter().map(operation).collect();
        let Self { num_samples, side, channels, .. } = self;
        format!("of ({num_samples}, {side}, {side}, {channels}), {}", operations.join(" "))
    }

    pub fn in_axes(&self) -> [Axis; 4] {
        [("n", self.num_samples), ("y", self.side), ("x", self.side), ("c", self.channels)]
    }

    pub fn out_axes(&self) -> [Axis; 4] {
        [("n", self.num_samples), ("y", self.out_side), ("x", self.out_side), ("c", self.channels)]
    }

    pub fn expected(&self) -> Expected {
        let (in_values, out_values) = (self.side.pow(2) * self.channels, self.out_side.pow(2) * self.channels);
        let (convolved, gradients) = (wide(&self.convolved), wide(&self.output_gradient));
        let mut expected = Expected::default();
        for (convolved, gradient) in convolved.chunks(in_values).zip(gradients.chunks(out_values)) {
            self.expect(convolved, gradient, &mut expected);
        }
        expected
    }

    /// Of one image.
    fn expect(&self, convolved: &[f64], gradient: &[f64], expected: &mut Expected) {
        let Self { channels, side, out_side, operations, .. } = self;
        let (channels, in_area, out_area) = (*channels, side.pow(2), out_side.pow(2));
        let mut image = turned(convolved, in_area, channels);
        for (values, bias) in image.chunks_mut(in_area).zip(wide(&self.bias)) {
            values.iter_mut().for_each(|value| *value += bias);
        }
        let pooling = operations.iter().position(|tail| *tail == POOL).expect("it pools");
        let before_pooling = run_forward(&block(channels, *side, *side, &operations[..pooling]), &image);
        let pooled = run_forward(&block(channels, *side, *out_side, &operations[..=pooling]), &image);
        let ops = TailOps::new(&block(channels, *side, *out_side, operations));
        let mut scratch = vec![f64::NAN; ops.scratch_values()];
        let mut output = vec![f64::NAN; channels * out_area];
        let mut argmax = vec![f64::NAN; ops.argmax_values()];
        ops.forward(&mut image, &mut output, Some(&mut argmax), &mut scratch);
        let mut gradient = turned(gradient, out_area, channels);
        ops.backward(&mut image, &output, &argmax, &mut gradient, &mut scratch);
        let is_cleared = |value: f64| operations.last() == Some(&Tail::Relu) && value <= 0.0;
        let places = argmax.iter().zip(&output).enumerate().map(|(at, (pixel, output))| {
            let (window, pixel) = (at % out_area, *pixel as usize);
            let (row, column) = (pixel / side - 2 * (window / out_side), pixel % side - 2 * (window % out_side));
            if is_cleared(*output) { f64::from(NOWHERE) } else { (row * 3 + column) as f64 }
        });
        let places = turned(&places.collect::<Vec<_>>(), channels, out_area);
        expected.before_pooling.extend(turned(&before_pooling, channels, in_area));
        expected.pooled.extend(turned(&pooled, channels, out_area));
        expected.output.extend(turned(&output, channels, out_area));
        expected.argmax.extend(places.iter().map(|place| *place as u8));
        expected.gradient.extend(turned(&image, channels, in_area));
    }

    /// What `argmax` picks of what is pooled: 0 where it is nowhere because the last ReLU left nothing, and NaN where
    /// it is no place.
    pub fn picked(&self, argmax: &[u8], before_pooling: &[f64]) -> Vec<f64> {
        let Self { channels, side, out_side, operations, .. } = self;
        let pick = |(at, place): (usize, &u8)| {
            let (channel, pixel) = (at % channels, at / channels);
            let (column, row, sample) = (pixel % out_side, pixel / out_side % out_side, pixel / out_side.pow(2));
            let (row, column) = (2 * row + usize::from(*place) / 3, 2 * column + usize::from(*place) % 3);
            match *place {
                NOWHERE if operations.last() == Some(&Tail::Relu) => 0.0,
                0..9 => before_pooling[((sample * side + row) * side + column) * channels + channel],
                _ => f64::NAN,
            }
        };
        argmax.iter().enumerate().map(pick).collect()
    }

    /// The gradient of the pooled values, from that of LRN's output behind them.
    pub fn pooled_gradient(&self, lrn: Lrn, pooled: &[f64]) -> Vec<f64> {
        let (channels, area) = (self.channels, self.out_side.pow(2));
        let ops = TailOps::new(&block(channels, self.out_side, self.out_side, &[Tail::Lrn(lrn)]));
        let gradients = wide(&self.output_gradient);
        let images = pooled.chunks(channels * area).zip(gradients.chunks(channels * area));
        let gradient = |(pooled, gradient): (&[f64], &[f64])| {
            let (mut image, mut gradient) = (turned(pooled, area, channels), turned(gradient, area, channels));
            let (mut output, mut scratch) = (vec![f64::NAN; channels * area], vec![f64::NAN; ops.scratch_values()]);
            ops.forward(&mut image, &mut output, None, &mut scratch);
            ops.backward(&mut image, &output, &[], &mut gradient, &mut scratch);
            turned(&image, channels, area)
        };
        images.flat_map(gradient).collect()
    }
}

/// A block of which only the tail matters.
fn block(channels: usize, side: usize, out_side: usize, operations: &[Tail]) -> ConvBlock {
    ConvBlock {
        in_channels: 8,
        in_side: side,
        out_channels: channels,
        kernel: 1,
        stride: 1,
        pad: 0,
        groups: 1,
        conv_side: side,
        out_side,
        tail: operations.to_vec(),
    }
}

/// The tail of a block, forward.
fn run_forward(block: &ConvBlock, image: &[f64]) -> Vec<f64> {
    let ops = TailOps::new(block);
    let (mut image, mut scratch) = (image.to_vec(), vec![f64::NAN; ops.scratch_values()]);
    let mut output =
        if ops.is_in_place() { Vec::new() } else { vec![f64::NAN; block.out_channels * block.out_side.pow(2)] };
    ops.forward(&mut image, &mut output, None, &mut scratch);
    if ops.is_in_place() { image } else { output }
}

/// (rows, columns) to (columns, rows).
fn turned(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
