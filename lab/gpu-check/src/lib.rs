//! The check of a GPU: every kernel, product, layer and step against the CPU, whether results are bitwise reproducible,
//! the overlap, NVIDIA's own tools, and how fast it all is beside what the card can do.
//!
//! In: a GPU and its libraries. Out: a [`Record`]. Datasets and runs lie in temporary folders.
//!
//! [`run`] starts this binary again for each job (`job.rs`), reads what the child writes down (`finding.rs`), and
//! writes the record after each line. An illegal access ends every later call of its process, and a panic in a library
//! its process: both cost the task that was under way, and the next child goes on behind it.

#![deny(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::print_stdout, clippy::print_stderr)] // say! and tell! survive a closed terminal.

mod alone;
mod child;
mod clocks;
mod determinism;
mod finding;
mod gpu;
mod job;
mod machine;
mod nan;
pub mod options;
mod outcome;
mod overlap;
mod parent;
mod parity;
mod profile;
mod record;
mod roofline;
mod runs;
mod sanitizer;
mod speeds;
mod tables;
mod tool;

pub use self::child::perform;
pub use self::options::{GpuCheckOptions, Part, Scale};
pub use self::parent::run;
pub use self::record::Record;
