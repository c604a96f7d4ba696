//! Our own kernels: everything between cuDNN's and cuBLASLt's calls. One safe method a kernel, of the same name and
//! with the arguments in the same order; what it computes stands above it in `kernels/`.
//!
//! In: device memory, whose lengths each method checks. Out: the same, as `&mut`. Nothing is owned but the functions.

mod conv;
mod dense;
mod numbers;
mod shapes;
pub mod source;
mod step;

use self::conv::TailKernel;
pub use self::conv::{ConvTail, TailOrder};
pub use self::numbers::{SampleLoss, Scalars, StepStatistics};
pub use self::shapes::num_bias_partials;

use std::marker::PhantomData;

use crate::backend::cuda::driver::{Function, Module};
use crate::backend::cuda::real::Real;
use crate::error::Result;

/// Channels that a thread computes at once: every layer's channels are a multiple of it.
pub const OCTET: usize = 8;

/// Enqueues a kernel; the driver copies the parameters in the call.
macro_rules! launch {
    ($stream:expr, $function:expr, $shape:expr, [$($parameter:expr),* $(,)?]) => {
        // SAFETY: the parameters have the types and the order of the kernel in kernels/, and the method has checked the
        // lengths of the memory they name; who owns it keeps it until the stream is done.
        unsafe {
            let shape = $shape;
            $stream.launch(
                $function,
                shape,
                &mut [$(std::ptr::from_ref(&$parameter).cast_mut().cast::<std::ffi::c_void>()),*],
            )
        }
    };
}
use launch;

/// The kernels of a module, for activations of type `R`.
#[derive(Debug)]
pub struct Kernels<R> {
    begin_step: Function,
    arrange_input: Function,
    pad_input: Function,
    /// By `TailKernel`.
    conv_tail_forward: [Function; 4],
    pooled_lrn_forward: Function,
    conv_tail_backward: [Function; 4],
    pooled_lrn_backward: Function,
    bias_relu_forward: Function,
    bias_relu_backward: Function,
    sum_bias_partials: Function,
    dropout_forward: Function,
    relu_scale: Function,
    dense_backward: Function,
    softmax_cross_entropy: Function,
    collect_statistics: Function,
    update: Function,
    mask_taps: Function,
    cast: Function,
    _real: PhantomData<R>,
}

impl<R: Real> Kernels<R> {
    /// The kernels of a module that was compiled from [`source::SOURCE`] with [`source::options`] for the same `R`.
    pub fn new(module: &Module) -> Result<Self> {
        let tails = |names: [&'static str; 4]| -> Result<_> {
            let [first, last, none, any] = names.map(|name| module.function(name));
            Ok([first?, last?, none?, any?])
        };
        Ok(Self {
            begin_step: module.function("begin_step")?,
            arrange_input: module.function("arrange_input")?,
            pad_input: module.function("pad_input")?,
            conv_tail_forward: tails(TailKernel::FORWARD)?,
            pooled_lrn_forward: module.function("pooled_lrn_forward")?,
            conv_tail_backward: tails(TailKernel::BACKWARD)?,
            pooled_lrn_backward: module.function("pooled_lrn_backward")?,
            bias_relu_forward: module.function("bias_relu_forward")?,
            bias_relu_backward: module.function("bias_relu_backward")?,
            sum_bias_partials: module.function("sum_bias_partials")?,
            dropout_forward: module.function("dropout_forward")?,
            relu_scale: module.function("relu_scale")?,
            dense_backward: module.function("dense_backward")?,
            softmax_cross_entropy: module.function("softmax_cross_entropy")?,
            collect_statistics: module.function("collect_statistics")?,
            update: module.function("update")?,
            mask_taps: module.function("mask_taps")?,
            cast: module.function("cast")?,
            _real: PhantomData,
        })
    }
}

/// Holds a length against what the shapes say.
#[track_caller]
fn assert_len(what: &str, len: usize, expected: usize) {
    assert_eq!(len, expected, "values of {what}, and what the shapes say");
}

/// A count as a kernel takes it.
fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or_else(|_| panic!("{count} does not fit into a kernel's int"))
}
