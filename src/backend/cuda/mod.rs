//! The CUDA backend.
#![expect(unsafe_code, reason = "calls to CUDA's libraries; each has its argument")]

pub mod driver;
