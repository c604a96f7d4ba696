//! Shards: the packed dataset on disk, one byte per value, memory-mapped.
//!
//! In: 256 x 256 planar pixels and labels from [`crate::pack`]. Out: borrowed bytes of the map, for [`crate::input`].
//! The map owns the memory; the page cache decides which of it is resident. `docs/shard-format.md` describes every
//! byte.

pub mod dataset;
pub mod format;
mod lettering;
pub mod picture;
mod reader;
pub mod sheet;
pub mod summary;
pub mod verify;
pub mod writer;

pub use dataset::{Dataset, DatasetInfo};
pub use format::{CHANNELS, SAMPLE_BYTES, SIDE, Split};
pub use reader::{Sample, ShardReader, SplitReader};
