//! The check of a GPU: every kernel, layer and step against the CPU backend, the same bits each time, the overlap, NVIDIA's own tools, and how fast it all
//! is beside what the card can do.
//!
//! In: a GPU and its libraries. Out: a [`Record`]. Datasets and runs lie in temporary folders.

pub mod budget;
mod dataset;
mod determinism;
mod gpu;
mod machine;
pub mod options;
pub mod outcome;
mod overlap;
mod parity;
mod record;
mod sanitizer;
mod speeds;
mod tables;
mod work;

use std::time::Instant;

use self::dataset::MadeDataset;
use self::gpu::TestedGpu;
use self::machine::Machine;
pub use self::options::{Extent, Options, Part};
pub use self::record::Record;
use self::speeds::Speeds;
use crate::error::Result;

/// Checks and measures; what fails is in the record. Fails itself where there is no GPU to check, or no room for a dataset.
pub fn run(options: &Options) -> Result<Record> {
    let begun = Instant::now();
    let Options { ordinal, only, extent, command, commit, .. } = options;
    let wanted = |part| only.is_none_or(|only| only == part);
    let gpu = TestedGpu::open(*ordinal)?;
    let machine = Machine::of(&gpu)?;
    crate::tell!("checking {}", machine.gpu);
    let mut record = Record::today(command.clone(), commit.clone(), *extent, machine);
    if wanted(Part::Parity) {
        record.checks.extend(parity::check(&gpu, extent.networks));
    }
    if [Part::Determinism, Part::Overlap, Part::Bench].into_iter().any(wanted) {
        crate::tell!("writing {} images of noise", extent.num_samples);
        let dataset = MadeDataset::new(extent.num_samples, extent.num_classes)?;
        if wanted(Part::Determinism) {
            record.checks.extend(determinism::check(&gpu, &dataset, extent));
        }
        if wanted(Part::Overlap) {
            record.checks.push(overlap::check(&gpu, &dataset, extent));
        }
        if wanted(Part::Bench) {
            record.speeds = Some(Speeds::measure(&gpu, &dataset, extent));
        }
    }
    if wanted(Part::Sanitizer) {
        record.checks.extend(sanitizer::check(options));
    }
    record.seconds = begun.elapsed().as_secs_f64();
    Ok(record)
}
