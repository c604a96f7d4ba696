//! Input: from shards to host batches, cropped, mirrored and relit, in step order, ahead of the trainer.
//!
//! In: a [`crate::shard::Dataset`] and the plan of each step. Out: [`Batch`]es, each from a fixed set that the
//! pipeline owns, lent to the trainer and given back. Each batch is a pure function of the seed and its step.

pub mod augment;
pub mod batch;
mod conveyor;
mod filler;
pub mod order;
pub mod paced;
pub mod pipeline;
pub mod plan;
mod reread;
pub mod source;
pub mod stats;
pub mod synthetic;
pub mod view;
mod workers;

pub use augment::Augmenter;
pub use batch::{Batch, Dtype, HostBuffer, Values};
pub use paced::PacedOptions;
pub use pipeline::{Pipeline, PipelineOptions};
pub use plan::{BatchPlan, EvalPlan, NumViews, Plan, TrainPlan};
pub use source::BatchSource;
pub use stats::{PipelineSnapshot, PipelineStats};
pub use synthetic::{SyntheticOptions, SyntheticSource};
pub use view::{Augmentation, Frame, Mirror, View};
