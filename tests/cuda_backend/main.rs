//! The CUDA backend as a whole, unchanged, on the simulated CUDA of `tests/simulated_cuda`.

#[path = "../common/simulated.rs"]
mod simulated;

mod device;
mod parity;
