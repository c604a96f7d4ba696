//! What follows a convolution's bias in a block: ReLU, LRN and pooling in the network's order, one image at a time.
//!
//! The idea is to keep little and compute the rest again while it is in the cache: training keeps the convolution's
//! output (with ReLU in place where that comes first) and pooling's argmax, not what stands between the operations.
//!
//! ```text
//! forward:   ReLU in place if it comes first
//!            for each other operation: output = operation(input), then ReLU in place if that follows it
//! backward:  the first operations' outputs again, as far as a later ReLU or LRN must know its input
//!            for each operation, last first: gradient = the gradient of its input, cleared where ReLU gave nothing
//! ```

use super::real::Real;
use super::relu::{relu_backward, relu_backward_onto, relu_forward};
use super::{lrn, pool};
use crate::model::{ConvBlock, Tail};

/// The tail of a block.
pub struct TailOps {
    channels: usize,
    /// Whether ReLU comes first, in place on the convolution's output.
    relu_at_once: Rectify,
    steps: Vec<TailStep>,
}

/// An operation that writes elsewhere, and whether ReLU follows it in place.
struct TailStep {
    op: TailOp,
    in_side: usize,
    out_side: usize,
    relu: Rectify,
}

enum TailOp {
    Lrn(crate::model::Lrn),
    Pool(crate::model::Pool),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rectify {
    Yes,
    No,
}

impl TailOps {
    pub fn new(block: &ConvBlock) -> Self {
        let mut tail = Self {
            channels: block.out_channels,
            relu_at_once: Rectify::No,
            steps: Vec::with_capacity(block.tail.len()),
        };
        let mut side = block.conv_side;
        for op in &block.tail {
            let (op, out_side) = match op {
                Tail::Relu => {
                    *tail.steps.last_mut().map_or(&mut tail.relu_at_once, |step| &mut step.relu) = Rectify::Yes;
                    continue;
                }
                Tail::Lrn(lrn) => (TailOp::Lrn(*lrn), side),
                Tail::Pool(op) => {
                    let is_exact = side * side <= pool::MOST_CHANNEL_VALUES;
                    assert!(is_exact, "pooling's argmax counts {side} x {side} values in f32, which is exact to 2^24");
                    (TailOp::Pool(*op), (side - op.window) / op.stride + 1)
                }
            };
            tail.steps.push(TailStep { op, in_side: side, out_side, relu: Rectify::No });
            side = out_side;
        }
        assert_eq!(side, block.out_side, "the tail's last side is the block's");
        let num_pools = tail.steps.iter().filter(|step| matches!(step.op, TailOp::Pool(_))).count();
        assert!(num_pools <= 1, "the argmax of one pooling is kept, not of {num_pools}");
        tail
    }

    /// Whether the block's output is the convolution's, rectified in place at most.
    pub fn is_in_place(&self) -> bool {
        self.steps.is_empty()
    }

    /// Values of scratch that a pass needs: those between the steps, two gradients, and the steps' own.
    pub fn scratch_values(&self) -> usize {
        let Some(first) = self.steps.first() else { return 0 };
        let own = self.steps.iter().map(|step| match &step.op {
            TailOp::Lrn(_) => lrn::scratch_values(self.channels),
            TailOp::Pool(op) => pool::scratch_values(op, step.in_side),
        });
        self.values_between() + 2 * self.channels * first.in_side * first.in_side + own.max().unwrap_or(0)
    }

    fn values_between(&self) -> usize {
        self.steps.iter().map(|step| self.out_values(step)).sum()
    }

    /// Values of an image's argmax: one for each of pooling's outputs.
    pub fn argmax_values(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.op, TailOp::Pool(_))).map(|step| self.out_values(step)).sum()
    }

    fn in_values(&self, step: &TailStep) -> usize {
        self.channels * step.in_side * step.in_side
    }

    fn out_values(&self, step: &TailStep) -> usize {
        self.channels * step.out_side * step.out_side
    }

    /// The convolution's output (channels, conv_side, conv_side), rectified in place if ReLU comes first, to the
    /// block's (channels, out_side, out_side). Without steps the former is the latter, and `output` is empty. Training
    /// asks for pooling's argmax, for the backward pass.
    #[inline(always)]
    pub fn forward<T: Real>(
        &self,
        convolved: &mut [T],
        output: &mut [T],
        mut argmax: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        if self.relu_at_once == Rectify::Yes {
            relu_forward(convolved);
        }
        let Some((last, first)) = self.steps.split_last() else { return };
        let (between, scratch) = scratch.split_at_mut(self.values_between());
        let input = self.forward_between(first, convolved, between, argmax.as_deref_mut(), scratch);
        self.step_forward(last, input, output, argmax, scratch);
    }

    /// Runs the first steps; their outputs stand behind one another in `between`. Returns the last of these.
    #[inline(always)]
    fn forward_between<'a, T: Real>(
        &self,
        steps: &[TailStep],
        convolved: &'a [T],
        between: &'a mut [T],
        mut argmax: Option<&mut [T]>,
        scratch: &mut [T],
    ) -> &'a [T] {
        let (mut input, mut rest) = (convolved, between);
        for step in steps {
            let (output, behind) = rest.split_at_mut(self.out_values(step));
            self.step_forward(step, input, output, argmax.as_deref_mut(), scratch);
            (input, rest) = (output, behind);
        }
        input
    }

    #[inline(always)]
    fn step_forward<T: Real>(
        &self,
        step: &TailStep,
        input: &[T],
        output: &mut [T],
        argmax: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        match (&step.op, argmax) {
            (TailOp::Lrn(op), _) => lrn::lrn_forward(op, self.channels, input, output, scratch),
            (TailOp::Pool(op), None) => pool::pool_forward(op, step.in_side, input, output, scratch),
            (TailOp::Pool(op), Some(argmax)) => {
                pool::pool_forward_with_argmax(op, step.in_side, input, output, argmax, scratch);
            }
        }
        if step.relu == Rectify::Yes {
            relu_forward(output);
        }
    }

    /// How many steps the backward pass computes again: their outputs tell what ReLU cleared, or are LRN's input.
    fn num_again(&self) -> usize {
        let is_needed = |pair: &[TailStep]| pair[0].relu == Rectify::Yes || matches!(pair[1].op, TailOp::Lrn(_));
        self.steps.windows(2).rposition(is_needed).map_or(0, |index| index + 1)
    }

    /// From the gradient of the block's output (which is overwritten) to that of the convolution's output, which takes
    /// the latter's place in `convolved`. Without steps `convolved` is empty and the gradient is worked on in place.
    #[inline(always)]
    pub fn backward<T: Real>(
        &self,
        convolved: &mut [T],
        output: &[T],
        argmax: &[T],
        gradient: &mut [T],
        scratch: &mut [T],
    ) {
        let Some(last) = self.steps.last() else {
            if self.relu_at_once == Rectify::Yes {
                relu_backward(output, gradient);
            }
            return;
        };
        let (between, scratch) = scratch.split_at_mut(self.values_between());
        let (mut from, scratch) = scratch.split_at_mut(self.in_values(&self.steps[0]));
        let (mut to, scratch) = scratch.split_at_mut(self.in_values(&self.steps[0]));
        self.forward_between(&self.steps[..self.num_again()], convolved, between, None, scratch);
        if last.relu == Rectify::Yes {
            relu_backward(output, gradient);
        }
        from[..gradient.len()].copy_from_slice(gradient);
        let mut end = between.len() - self.out_values(last);
        for (index, step) in self.steps.iter().enumerate().rev() {
            let start = end - if index > 0 { self.in_values(step) } else { end };
            let input = if index > 0 { &between[start..end] } else { &convolved[..] };
            let (gradient, input_gradient) = (&from[..self.out_values(step)], &mut to[..self.in_values(step)]);
            match &step.op {
                TailOp::Lrn(op) => lrn::lrn_backward(op, self.channels, input, gradient, input_gradient, scratch),
                TailOp::Pool(_) => pool::pool_backward(self.channels, argmax, gradient, input_gradient),
            }
            if index > 0 && self.steps[index - 1].relu == Rectify::Yes {
                relu_backward(input, input_gradient);
            }
            (from, to, end) = (to, from, start);
        }
        match self.relu_at_once {
            Rectify::Yes => relu_backward_onto(from, convolved),
            Rectify::No => convolved.copy_from_slice(&from[..convolved.len()]),
        }
    }
}
