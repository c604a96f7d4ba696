//! The kernels' source and how it is compiled: the same for the backend, for the tests that compile it for every
//! architecture, and for those that run it on the host.

use crate::backend::cuda::driver::Capability;
use crate::backend::cuda::real::Real;

macro_rules! unit {
    ($($file:literal)*) => {
        concat!($("#line 1 \"kernels/", $file, "\"\n", include_str!(concat!("../../../../kernels/", $file))),*)
    };
}

/// All of `kernels/`, one translation unit without headers.
pub const SOURCE: &str = unit! {
    "common.cuh" "reduce.cuh" "philox.cuh" "lrn.cuh"
    "step.cu" "input.cu" "conv_tail_forward.cu" "conv_tail_backward.cu" "pooled_lrn.cu" "bias_relu.cu"
    "dropout.cu" "dense.cu" "loss.cu" "update.cu"
};

/// The names of the kernels in [`SOURCE`], in its order.
pub fn kernel_names() -> Vec<&'static str> {
    let definitions = SOURCE.split("extern \"C\" __global__ void ").skip(1);
    let name = |text: &'static str| {
        let bounded = text.strip_prefix("__launch_bounds__").and_then(|bounds| bounds.split_once(") "));
        bounded.map_or(text, |(_, text)| text).split('(').next().unwrap_or(text)
    };
    definitions.map(name).collect()
}

/// NVRTC's options: machine code for one architecture, with the lines that profilers and sanitizers name.
///
/// No fast mathematics: where an approximation is good enough, a kernel says so itself.
pub fn options<R: Real>(capability: Capability) -> Vec<String> {
    vec![
        format!("--gpu-architecture=sm_{}{}", capability.major, capability.minor),
        "--std=c++17".to_owned(),
        "--generate-line-info".to_owned(),
        format!("-D{}", R::DEFINITION),
    ]
}
