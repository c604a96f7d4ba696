//! libcuda.

pub mod capture;
pub mod context;
pub mod copy;
pub mod event;
pub mod launch;
pub mod memory;
pub mod module;
pub mod result;
pub mod stream;
