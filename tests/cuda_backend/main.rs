//! The CUDA backend as a whole, unchanged, on the simulated CUDA of `tests/simulated_cuda`.

#[path = "../common/simulated.rs"]
mod simulated;

mod commands;
mod device;
mod failures;
#[path = "../common/networks.rs"]
mod kinds;
mod libraries;
mod mutations;
mod parity;
mod quickstart;
mod run;
mod schedules;
