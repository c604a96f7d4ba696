//! Input: from shards to host batches, cropped, mirrored and relit, in step order, ahead of the trainer.
//!
//! In: a [`crate::shard::Dataset`] and the plan of each step. Out: [`Batch`]es, each from a fixed set that the
//! pipeline owns, lent to the trainer and given back.

pub mod batch;

pub use batch::{Batch, Dtype, Values};
