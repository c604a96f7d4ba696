//! Input: turns shards into host batches of cropped, mirrored and colour-jittered views, in step order, ahead of the
//! trainer.
//!
//! In: a [`crate::shard::Dataset`] and the plan of each step. Out: [`Batch`]es, each from a fixed set that the pipeline
//! owns, lent to the trainer and returned. The contents of a batch are a pure function of the seed and the step.

pub mod augment;
mod batch;
mod conveyor;
mod filler;
mod order;
pub mod paced;
mod pipeline;
mod plan;
mod reread;
pub mod source;
pub(crate) mod stats;
mod view;
mod workers;

pub use augment::Augmenter;
pub use batch::{Batch, Dtype, HostBuffer, Values};
pub use paced::PacedOptions;
pub use pipeline::{Pipeline, PipelineOptions};
pub use plan::{BatchPlan, EvalPlan, NumViews, Plan, TrainPlan};
pub use source::BatchSource;
pub use stats::{PipelineSnapshot, PipelineStats};
pub use view::{Augmentation, Frame, Mirror, View};
