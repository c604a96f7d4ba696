//! AlexNet (2012), end to end: from a folder of images to a trained network on one machine.
//!
//! In the order of the data flow: [`pack`] turns images into [`shard`]s, [`input`] turns shards into host batches, a
//! [`backend`] computes what [`model`] describes, [`train`] drives it by a [`recipe`] and [`evaluate`] asks a trained
//! network, whose [`weights`] may be another program's.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::print_stdout, clippy::print_stderr)] // say! and tell! survive a closed terminal.

pub mod backend;
pub mod bench;
mod claim;
pub mod cli;
pub mod clock;
pub mod error;
pub mod evaluate;
pub mod input;
pub mod machine;
pub mod model;
pub mod pack;
mod page;
pub mod philox;
mod progress;
pub mod publish;
pub mod recipe;
pub mod report;
pub mod shard;
pub mod synthetic;
pub mod trace;
pub mod train;
pub mod weights;
mod write_back;

pub use error::{Error, Result};
