//! The CUDA backend.
#![expect(unsafe_code, reason = "calls to CUDA's libraries; each has its argument")]

pub mod compile;
pub mod driver;
pub mod kernels;
pub mod libraries;
mod real;

pub use self::real::Real;
