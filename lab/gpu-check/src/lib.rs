//! The check of a GPU: every kernel, layer and step against the CPU backend, whether results are bitwise reproducible,
//! the overlap, NVIDIA's own tools, and how fast it all is beside what the card can do.
//!
//! In: a GPU and its libraries. Out: a [`Record`]. Datasets and runs lie in temporary folders.

#![deny(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::print_stdout, clippy::print_stderr)] // say! and tell! survive a closed terminal.

mod determinism;
mod gpu;
mod machine;
pub mod options;
mod outcome;
mod overlap;
mod parity;
mod record;
mod roofline;
mod sanitizer;
mod speeds;
mod tables;

use std::time::Instant;

use self::machine::Machine;
pub use self::options::{Extent, GpuCheckOptions, Part};
pub use self::record::Record;
use self::speeds::Speeds;
use alexnet::backend::PrecisionChoice;
use alexnet::backend::cuda::Gpu;
use alexnet::error::{IoContext, Result};
use alexnet::synthetic::dataset::coloured_dataset;

/// A validation split must not be empty.
const NUM_VAL: usize = 16;

/// Checks and measures; what fails is in the record. Fails itself where there is no GPU to check, or no room for a
/// dataset.
pub fn run(options: &GpuCheckOptions) -> Result<Record> {
    let begun = Instant::now();
    let GpuCheckOptions { ordinal, only, extent, command, commit, .. } = options;
    let wanted = |part| only.is_none_or(|only| only == part);
    let gpu = Gpu::open(*ordinal)?;
    // None computes on too old a card.
    gpu.precision(PrecisionChoice::Auto)?;
    let machine = Machine::of(&gpu)?;
    alexnet::tell!("checking {}", machine.gpu);
    let mut record = Record::today(command.clone(), commit.clone(), *extent, machine);
    if wanted(Part::Parity) {
        record.checks.extend(parity::check(&gpu, extent.networks));
    }
    if [Part::Determinism, Part::Overlap, Part::Bench].into_iter().any(wanted) {
        alexnet::tell!("writing {} images of noise", extent.num_samples);
        let folder = tempfile::Builder::new().prefix("alexnet-gpu-check-").tempdir();
        let folder = folder.at("create a folder in", std::env::temp_dir())?;
        let shards = folder.path();
        coloured_dataset(shards, extent.num_samples, NUM_VAL, extent.num_classes, 1)?;
        if wanted(Part::Determinism) {
            record.checks.extend(determinism::check(&gpu, shards, extent));
        }
        if wanted(Part::Overlap) {
            record.checks.push(overlap::check(&gpu, shards, extent));
        }
        if wanted(Part::Bench) {
            record.speeds = Some(Speeds::measure(&gpu, shards, extent));
        }
    }
    if wanted(Part::Sanitizer) {
        record.checks.extend(sanitizer::check(options));
    }
    record.seconds = begun.elapsed().as_secs_f64();
    Ok(record)
}
