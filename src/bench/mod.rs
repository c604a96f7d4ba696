//! The bench: what each stage can do alone, what they do together, and which of them holds the others up.
//!
//! In: a packed dataset, or synthetic batches, and a backend. Out: a [`Report`]. The stages are measured in turns
//! (input, upload, device, end to end, input, ...), so that what else the machine does meets all of them alike.

mod device;
mod end_to_end;
mod input;
pub mod options;
pub mod overlap;
mod rates;
mod report;
pub mod resources;
mod slots;
mod upload;

use std::sync::Arc;

use self::device::DeviceRound;
use self::end_to_end::EndToEndRound;
use self::input::InputRound;
pub use self::options::{BenchOptions, Effort, Stage};
pub use self::rates::Rates;
pub use self::report::Report;
use self::upload::UploadRound;
use crate::backend::Chosen;
use crate::error::Result;
use crate::recipe::{self, Recipe};
use crate::shard::Dataset;
use crate::train::experiment::Experiment;

/// What was measured of every stage that was asked for, round by round.
#[derive(Debug, Default)]
struct Rounds {
    input: Vec<InputRound>,
    upload: Vec<UploadRound>,
    device: Vec<DeviceRound>,
    end_to_end: Vec<EndToEndRound>,
}

/// Measures as `options` say.
pub fn measure(options: &BenchOptions) -> Result<Report> {
    let chosen = Chosen::new(&options.compute)?;
    let experiment = experiment(options)?;
    let workers = options.workers.unwrap_or_else(|| chosen.default_workers());
    let effort = options.effort;
    if let (Some(Stage::Input), Some(dtype)) = (options.only, options.dtype) {
        let input = (0..effort.rounds).map(|round| input::round(&experiment, workers, dtype, effort, round));
        let rounds = Rounds { input: input.collect::<Result<_>>()?, ..Rounds::default() };
        return Ok(Report::new(&rounds, &experiment, workers, dtype, None));
    }
    let wanted = |stage| options.only.is_none_or(|only| only == stage);
    let mut backend = chosen.open(&experiment.network, experiment.backend_options())?;
    backend.load(&experiment.parameters)?;
    let dtype = backend.input_dtype();
    let mut batches = match wanted(Stage::Upload) || wanted(Stage::Device) {
        true => experiment.synthetic_batches(dtype)?,
        false => Vec::new(),
    };
    let mut rounds = Rounds::default();
    for round in 0..effort.rounds {
        if wanted(Stage::Input) {
            rounds.input.push(input::round(&experiment, workers, dtype, effort, round)?);
        }
        if wanted(Stage::Upload) {
            rounds.upload.push(upload::round(backend.as_mut(), &mut batches, effort)?);
        }
        if wanted(Stage::Device) {
            rounds.device.push(device::round(backend.as_mut(), &mut batches, effort)?);
        }
        if wanted(Stage::EndToEnd) {
            let measured;
            (backend, measured) = end_to_end::round(backend, &experiment, workers, effort)?;
            rounds.end_to_end.push(measured);
        }
    }
    Ok(Report::new(&rounds, &experiment, workers, dtype, Some(backend.device())))
}

/// The network, its parameters and its data.
pub fn experiment(options: &BenchOptions) -> Result<Experiment> {
    let dataset = options.shards.as_ref().map(|shards| Dataset::open(shards).map(Arc::new)).transpose()?;
    Experiment::new(Recipe::load(options.recipe.as_deref().unwrap_or(recipe::DEFAULT), &options.sets)?, dataset)
}
