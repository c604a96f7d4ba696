//! Launches of kernels/input.cu, conv_tail_forward.cu, conv_tail_backward.cu, pooled_lrn.cu, bias_relu.cu, and of
//! mask_taps.

use half::f16;

use super::{Kernels, OCTET, Scalars, assert_len, int, launch, num_bias_partials, numbers, shapes};
use crate::backend::cuda::driver::{Slice, SliceMut, Stream};
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{self, ConvBlock};

/// The order of what follows a convolution's bias. The numbers are `ORDER_...` in `kernels/conv_tail_forward.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TailOrder {
    /// The paper's.
    ReluLrnPool = 0,
    /// CaffeNet's.
    ReluPoolLrn = 1,
    /// That of the code of 2012.
    LrnPoolRelu = 2,
    /// conv5's, and of all blocks without LRN.
    ReluPool = 3,
}

/// The tail of a block that pools, (N, side, side, channels) to (N, out_side, out_side, channels).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTail {
    pub(super) channels: usize,
    pub(super) side: usize,
    pub(super) out_side: usize,
    pub(super) order: TailOrder,
    pub(super) lrn: numbers::Lrn,
}

impl ConvTail {
    /// The tail of a block, none where only ReLU follows the bias; or which tails there are kernels for.
    pub fn new(block: &ConvBlock) -> Result<Option<Self>, String> {
        use model::Tail::{Lrn, Pool, Relu};
        let (order, lrn, pool) = match block.tail[..] {
            [Relu] => return Ok(None),
            [Relu, Lrn(lrn), Pool(pool)] => (TailOrder::ReluLrnPool, Some(lrn), pool),
            [Relu, Pool(pool), Lrn(lrn)] => (TailOrder::ReluPoolLrn, Some(lrn), pool),
            [Lrn(lrn), Pool(pool), Relu] => (TailOrder::LrnPoolRelu, Some(lrn), pool),
            // Either order gives the same values and the same gradients.
            [Relu, Pool(pool)] | [Pool(pool), Relu] => (TailOrder::ReluPool, None, pool),
            _ => {
                return Err(
                    "ReLU, or ReLU and pooling, or with LRN: ReLU LRN pooling, ReLU pooling LRN, LRN pooling ReLU"
                        .into(),
                );
            }
        };
        if pool != (model::Pool { window: 3, stride: 2 }) {
            return Err("pooling of 3 x 3 with stride 2".into());
        }
        let most = shapes::MOST_NORMALISED_OCTETS * OCTET;
        if block.out_channels > most {
            return Err(format!("{most} channels at most where there is pooling"));
        }
        let lrn = lrn.map_or_else(numbers::Lrn::default, numbers::Lrn::from);
        Ok(Some(Self { channels: block.out_channels, side: block.conv_side, out_side: block.out_side, order, lrn }))
    }

    /// Parts over which the bias gradient is summed.
    pub fn num_partials(&self, num_samples: usize) -> usize {
        shapes::num_tail_partials(num_samples, self.channels, self.side)
    }

    /// Values of the convolution's output.
    fn in_values(&self, num_samples: usize) -> usize {
        num_samples * self.side * self.side * self.channels
    }

    /// Values of the block's output.
    fn out_values(&self, num_samples: usize) -> usize {
        num_samples * self.out_side * self.out_side * self.channels
    }

    /// Which of the kernels of a direction it takes.
    pub(super) fn kernel(&self) -> TailKernel {
        let is_papers = self.lrn.n == 5 && self.lrn.beta == 0.75;
        match self.order {
            TailOrder::ReluPoolLrn | TailOrder::ReluPool => TailKernel::NoLrn,
            TailOrder::ReluLrnPool if is_papers => TailKernel::ReluFirst,
            TailOrder::LrnPoolRelu if is_papers => TailKernel::ReluLast,
            TailOrder::ReluLrnPool | TailOrder::LrnPoolRelu => TailKernel::AnyLrn,
        }
    }
}

/// The kernels of conv_tail_forward.cu and conv_tail_backward.cu: the first two for the paper's n and beta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TailKernel {
    ReluFirst,
    ReluLast,
    NoLrn,
    AnyLrn,
}

impl TailKernel {
    /// The names of the forward kernels, in the order of the variants.
    pub const FORWARD: [&str; 4] =
        ["conv_tail_forward", "conv_tail_forward_relu_last", "conv_tail_forward_no_lrn", "conv_tail_forward_any_lrn"];
    /// The names of the backward kernels, likewise.
    pub const BACKWARD: [&str; 4] = [
        "conv_tail_backward",
        "conv_tail_backward_relu_last",
        "conv_tail_backward_no_lrn",
        "conv_tail_backward_any_lrn",
    ];
}

impl<R: Real> Kernels<R> {
    /// input (num_samples, 3, canvas, canvas) to output (num_samples, side, side, 64) by space-to-depth, zeros beyond
    /// the canvas and for samples from num_valid on.
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn arrange_input(
        &self,
        stream: &Stream,
        input: Slice<'_, f16>,
        output: &mut SliceMut<'_, R>,
        scalars: Slice<'_, Scalars>,
        num_samples: usize,
        canvas: usize,
        side: usize,
    ) -> Result<()> {
        assert_len("input", input.len(), num_samples * 3 * canvas * canvas);
        assert_len("output", output.len(), num_samples * side * side * 64);
        assert_len("scalars", scalars.len(), 1);
        launch!(
            stream,
            &self.arrange_input,
            shapes::arrange_input(num_samples, side),
            [input.address(), output.address(), scalars.address(), int(num_samples), int(canvas), int(side),]
        )
    }

    /// input (num_samples, 3, canvas, canvas) to output (num_samples, canvas, canvas, 8), zeros in channels from 3 on
    /// and for samples from num_valid on.
    pub fn pad_input(
        &self,
        stream: &Stream,
        input: Slice<'_, f16>,
        output: &mut SliceMut<'_, R>,
        scalars: Slice<'_, Scalars>,
        num_samples: usize,
        canvas: usize,
    ) -> Result<()> {
        assert_len("input", input.len(), num_samples * 3 * canvas * canvas);
        assert_len("output", output.len(), num_samples * canvas * canvas * OCTET);
        assert_len("scalars", scalars.len(), 1);
        launch!(
            stream,
            &self.pad_input,
            shapes::pad_input(num_samples, canvas),
            [input.address(), output.address(), scalars.address(), int(num_samples), int(canvas)]
        )
    }

    /// convolved (num_samples, side, side, channels), without its bias (channels), to output and argmax (num_samples,
    /// out_side, out_side, channels).
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn conv_tail_forward(
        &self,
        stream: &Stream,
        convolved: Slice<'_, R>,
        bias: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
        argmax: &mut SliceMut<'_, u8>,
        num_samples: usize,
        tail: &ConvTail,
    ) -> Result<()> {
        let &ConvTail { channels, side, out_side, order, lrn } = tail;
        assert_len("convolved", convolved.len(), tail.in_values(num_samples));
        assert_len("bias", bias.len(), channels);
        assert_len("output", output.len(), tail.out_values(num_samples));
        assert_len("argmax", argmax.len(), tail.out_values(num_samples));
        let function = &self.conv_tail_forward[tail.kernel() as usize];
        let shape = shapes::conv_tail_forward(num_samples, channels, out_side);
        let [n, channels, side, out_side] = [num_samples, channels, side, out_side].map(int);
        let (number, to) = (order as i32, [output.address(), argmax.address()]);
        launch!(
            stream,
            function,
            shape,
            [convolved.address(), bias.address(), to[0], to[1], n, channels, side, out_side, number, lrn]
        )?;
        match order {
            TailOrder::ReluPoolLrn => {
                self.pooled_lrn_forward(stream, convolved, bias, argmax.as_slice(), output, num_samples, tail)
            }
            TailOrder::ReluLrnPool | TailOrder::LrnPoolRelu | TailOrder::ReluPool => Ok(()),
        }
    }

    /// What argmax picks from convolved, with bias and ReLU, to its LRN in output; all as in
    /// [`Kernels::conv_tail_forward`], which calls it.
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn pooled_lrn_forward(
        &self,
        stream: &Stream,
        convolved: Slice<'_, R>,
        bias: Slice<'_, R>,
        argmax: Slice<'_, u8>,
        output: &mut SliceMut<'_, R>,
        num_samples: usize,
        tail: &ConvTail,
    ) -> Result<()> {
        let &ConvTail { channels, side, out_side, lrn, .. } = tail;
        assert_len("convolved", convolved.len(), tail.in_values(num_samples));
        assert_len("bias", bias.len(), channels);
        assert_len("argmax", argmax.len(), tail.out_values(num_samples));
        assert_len("output", output.len(), tail.out_values(num_samples));
        let shape = shapes::pooled_lrn(num_samples * out_side * out_side, channels);
        let [n, channels, side, out_side] = [num_samples, channels, side, out_side].map(int);
        let (from, to) = ([convolved.address(), bias.address(), argmax.address()], output.address());
        launch!(
            stream,
            &self.pooled_lrn_forward,
            shape,
            [from[0], from[1], from[2], to, n, channels, side, out_side, lrn]
        )
    }

    /// convolved becomes its own gradient; output_gradient (which may be overwritten) and argmax as in
    /// [`Kernels::conv_tail_forward`]; bias_partials ([`ConvTail::num_partials`], channels).
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn conv_tail_backward(
        &self,
        stream: &Stream,
        convolved: &mut SliceMut<'_, R>,
        bias: Slice<'_, R>,
        output_gradient: &mut SliceMut<'_, R>,
        argmax: Slice<'_, u8>,
        bias_partials: &mut SliceMut<'_, f32>,
        num_samples: usize,
        tail: &ConvTail,
    ) -> Result<()> {
        let &ConvTail { channels, side, out_side, order, lrn } = tail;
        let num_partials = tail.num_partials(num_samples);
        assert_len("convolved", convolved.len(), tail.in_values(num_samples));
        assert_len("bias", bias.len(), channels);
        assert_len("output_gradient", output_gradient.len(), tail.out_values(num_samples));
        assert_len("argmax", argmax.len(), tail.out_values(num_samples));
        assert_len("bias_partials", bias_partials.len(), num_partials * channels);
        if order == TailOrder::ReluPoolLrn {
            let values = convolved.as_slice();
            self.pooled_lrn_backward(stream, values, bias, argmax, output_gradient, num_samples, tail)?;
        }
        let function = &self.conv_tail_backward[tail.kernel() as usize];
        let shape = shapes::conv_tail_backward(channels, side, num_partials);
        let (convolved, bias) = (convolved.address(), bias.address());
        let (gradient, argmax, partials) = (output_gradient.address(), argmax.address(), bias_partials.address());
        let [n, channels, side, out_side] = [num_samples, channels, side, out_side].map(int);
        let (num_partials, order) = (int(num_partials), order as i32);
        launch!(
            stream,
            function,
            shape,
            [convolved, bias, gradient, argmax, partials, n, channels, side, out_side, num_partials, order, lrn]
        )
    }

    /// output_gradient, of the LRN's output, becomes that of the pooled values; all as in
    /// [`Kernels::conv_tail_backward`], which calls it.
    #[expect(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn pooled_lrn_backward(
        &self,
        stream: &Stream,
        convolved: Slice<'_, R>,
        bias: Slice<'_, R>,
        argmax: Slice<'_, u8>,
        output_gradient: &mut SliceMut<'_, R>,
        num_samples: usize,
        tail: &ConvTail,
    ) -> Result<()> {
        let &ConvTail { channels, side, out_side, lrn, .. } = tail;
        assert_len("convolved", convolved.len(), tail.in_values(num_samples));
        assert_len("bias", bias.len(), channels);
        assert_len("argmax", argmax.len(), tail.out_values(num_samples));
        assert_len("output_gradient", output_gradient.len(), tail.out_values(num_samples));
        let shape = shapes::pooled_lrn(num_samples * out_side * out_side, channels);
        let [n, channels, side, out_side] = [num_samples, channels, side, out_side].map(int);
        let (from, to) = ([convolved.address(), bias.address(), argmax.address()], output_gradient.address());
        launch!(
            stream,
            &self.pooled_lrn_backward,
            shape,
            [from[0], from[1], from[2], to, n, channels, side, out_side, lrn]
        )
    }

    /// values (rows, channels), a convolution's output, with bias (channels) and ReLU, in place.
    pub fn bias_relu_forward(
        &self,
        stream: &Stream,
        values: &mut SliceMut<'_, R>,
        bias: Slice<'_, R>,
        rows: usize,
        channels: usize,
    ) -> Result<()> {
        assert_len("values", values.len(), rows * channels);
        assert_len("bias", bias.len(), channels);
        let shape = shapes::octets(rows * channels);
        launch!(stream, &self.bias_relu_forward, shape, [values.address(), bias.address(), int(rows), int(channels),])
    }

    /// gradient (rows, channels) in place, by ReLU's output; bias_partials ([`num_bias_partials`], channels).
    pub fn bias_relu_backward(
        &self,
        stream: &Stream,
        output: Slice<'_, R>,
        gradient: &mut SliceMut<'_, R>,
        bias_partials: &mut SliceMut<'_, f32>,
        rows: usize,
        channels: usize,
    ) -> Result<()> {
        let num_partials = num_bias_partials(rows, channels);
        assert_len("output", output.len(), rows * channels);
        assert_len("gradient", gradient.len(), rows * channels);
        assert_len("bias_partials", bias_partials.len(), num_partials * channels);
        launch!(
            stream,
            &self.bias_relu_backward,
            shapes::bias_relu_backward(channels, num_partials),
            [
                output.address(),
                gradient.address(),
                bias_partials.address(),
                int(rows),
                int(channels),
                int(num_partials),
            ]
        )
    }

    /// bias_partials (num_partials, channels) to bias_gradient (channels).
    pub fn sum_bias_partials(
        &self,
        stream: &Stream,
        bias_partials: Slice<'_, f32>,
        bias_gradient: &mut SliceMut<'_, R>,
        num_partials: usize,
        channels: usize,
    ) -> Result<()> {
        assert_len("bias_partials", bias_partials.len(), num_partials * channels);
        assert_len("bias_gradient", bias_gradient.len(), channels);
        launch!(
            stream,
            &self.sum_bias_partials,
            shapes::sum_bias_partials(channels),
            [bias_partials.address(), bias_gradient.address(), int(num_partials), int(channels),]
        )
    }

    /// Clears the padding in conv1's weight gradient, (out_channels, 3, 3, 64), beyond kernel_size taps a side.
    pub fn mask_taps(
        &self,
        stream: &Stream,
        gradient: &mut SliceMut<'_, R>,
        out_channels: usize,
        kernel_size: usize,
    ) -> Result<()> {
        assert_len("gradient", gradient.len(), out_channels * 9 * 64);
        let shape = shapes::mask_taps(out_channels);
        launch!(stream, &self.mask_taps, shape, [gradient.address(), int(out_channels), int(kernel_size)])
    }
}
