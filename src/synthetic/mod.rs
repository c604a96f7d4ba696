//! Synthetic data: values, batches and datasets that tests and measurements make for themselves.
//!
//! Every value comes from (seed, position), so the same call makes the same data everywhere.

pub mod batches;
pub mod dataset;
pub(crate) mod values;
