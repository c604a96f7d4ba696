//! Every kernel of ours, and every product of the libraries, alone: on small inputs, against the CPU in f64.
//!
//! In: a GPU. Out: what differs, tensor by tensor. A case owns the device's memory that it needs, while it runs.
//!
//! Where a network's tensors differ ([`crate::backend::parity`]), this finds the call. Kernels are compared with the
//! CPU backend's operations, products with their sums as the textbook has them; both take the very values that the
//! device reads. A case runs twice, on memory that is poisoned before, and must give the same bits again: the simulated
//! CUDA, on which the tests run, takes blocks and threads in another order each time.

mod bias_relu;
mod conv_tail;
mod convolution;
mod dense;
mod fixture;
mod input;
mod outputs;
mod pooled_lrn;
mod product;
mod step;
mod tail_input;
mod update;
mod values;

use half::bf16;

use self::fixture::Fixture;
use self::outputs::Outputs;
pub use self::outputs::Ran;
use super::{Gpu, Precision, Real};
use crate::error::Result;

/// A kernel or a product, and inputs to try it on.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    name: &'static str,
    in_bf16: fn(&Fixture<bf16>, &mut Outputs) -> Result<()>,
    in_f32: fn(&Fixture<f32>, &mut Outputs) -> Result<()>,
}

macro_rules! case {
    ($name:expr, $module:ident::$function:ident) => {
        Case { name: $name, in_bf16: $module::$function::<bf16>, in_f32: $module::$function::<f32> }
    };
}

macro_rules! kernels {
    ($($module:ident::$kernel:ident)*) => {
        &[$(case!(stringify!($kernel), $module::$kernel)),*]
    };
}

/// One case a kernel, by the kernel's name, in the order of a step. Those of TF32 are those of f32.
pub const KERNELS: &[Case] = kernels! {
    step::begin_step
    input::arrange_input
    input::pad_input
    conv_tail::conv_tail_forward
    conv_tail::conv_tail_forward_relu_last
    conv_tail::conv_tail_forward_no_lrn
    conv_tail::conv_tail_forward_any_lrn
    pooled_lrn::pooled_lrn_forward
    bias_relu::bias_relu_forward
    dense::dropout_forward
    dense::relu_scale
    step::softmax_cross_entropy
    step::collect_statistics
    dense::dense_backward
    pooled_lrn::pooled_lrn_backward
    conv_tail::conv_tail_backward
    conv_tail::conv_tail_backward_relu_last
    conv_tail::conv_tail_backward_no_lrn
    conv_tail::conv_tail_backward_any_lrn
    bias_relu::bias_relu_backward
    bias_relu::sum_bias_partials
    input::mask_taps
    update::update
    update::cast
};

/// One case a direction and an epilogue, of cuDNN's convolutions and cuBLASLt's products.
pub const PRODUCTS: &[Case] = &[
    case!("convolution", convolution::forward),
    case!("convolution with bias and ReLU", convolution::forward_bias_relu),
    case!("convolution's weight gradient", convolution::weight_gradient),
    case!("convolution's input gradient", convolution::input_gradient),
    case!("dense product with bias", product::hidden),
    case!("dense product with bias, to f32 logits", product::logits),
    case!("dense weight gradient", product::weight_gradient),
    case!("dense input gradient", product::input_gradient),
];

impl Case {
    /// The kernel's name, or what the product is.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it twice; an error where a call failed.
    pub fn run(&self, gpu: &Gpu, precision: Precision) -> Result<Ran> {
        match precision {
            Precision::Bf16 => run_twice(gpu, precision, self.in_bf16),
            Precision::Tf32 | Precision::F32 => run_twice(gpu, precision, self.in_f32),
        }
    }
}

fn run_twice<R: Real>(
    gpu: &Gpu,
    precision: Precision,
    case: fn(&Fixture<R>, &mut Outputs) -> Result<()>,
) -> Result<Ran> {
    let run = || {
        let (on, mut outputs) = (Fixture::new(gpu, precision)?, Outputs::default());
        let ran = case(&on, &mut outputs);
        // Where a call failed, those before it may be under way.
        on.synchronize()?;
        ran.map(|()| outputs)
    };
    let first = run()?;
    Ok(first.compared(&run()?))
}

#[cfg(test)]
mod tests {
    use super::KERNELS;
    use crate::backend::cuda::kernels::source::kernel_names;

    #[test]
    fn every_kernel_has_a_case() {
        let mut cases: Vec<_> = KERNELS.iter().map(|case| case.name).collect();
        let mut kernels = kernel_names();
        cases.sort_unstable();
        kernels.sort_unstable();
        assert_eq!(cases, kernels);
    }
}
