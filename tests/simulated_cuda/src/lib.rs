//! A CUDA for tests: the C functions of libcuda, libnvrtc, libcudnn, libcublasLt and libnvidia-ml that this project
//! calls, on the CPU.
//!
//! What it promises, what it cannot show, and its environment variables are in this package's README.

#![warn(missing_docs)]
// The names and the contracts are CUDA's: its reference says what a caller owes, and every function checks what it can.
#![allow(non_snake_case, clippy::missing_safety_doc, clippy::too_many_arguments, unsafe_op_in_unsafe_fn)]

#[macro_use]
mod calls;
mod cublaslt;
mod cudnn;
mod device;
mod driver;
mod numbers;
mod nvml;
mod nvrtc;
mod observed;
mod product;
mod report;
mod schedule;
mod settings;
mod table;

#[cfg(test)]
mod tests;
