//! Asking a trained network: its error on a split, or what a picture shows.
//!
//! In: a checkpoint, and a packed dataset or picture files. Out: a [`Report`] or [`predict::Prediction`]s. The backend
//! owns the memory of the passes.

mod pictures;
pub mod predict;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::backend::{BackendOptions, Choice, Chosen};
use crate::error::{Error, Result};
use crate::input::NumViews;
use crate::shard::{Dataset, Split};
use crate::train::checkpoint::{self, RunState};
use crate::train::experiment::Experiment;
use crate::train::stop::Stop;
use crate::train::validation::Validation;
use crate::weights::{self, Given, Opened, Origin};

/// What `evaluate` is asked for.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// The folder of a packed dataset.
    pub shards: PathBuf,
    /// The checkpoint file to evaluate.
    pub checkpoint: PathBuf,
    /// What is said about the file beside it.
    pub given: Given,
    /// How many views of each image are averaged.
    pub views: NumViews,
    /// Only the first so many images.
    pub limit: Option<usize>,
    /// Views of a batch.
    pub batch_size: usize,
    /// Who computes, and how.
    pub compute: Choice,
    /// Threads that augment; by default as many as suit the device.
    pub workers: Option<usize>,
}

/// What `evaluate` found; as JSON, the contract of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The share of images whose class is not the likeliest, 0 to 1.
    pub top1_error: f64,
    /// The share of images whose class is not among the five likeliest, 0 to 1.
    pub top5_error: f64,
    /// Of each image: 1 or 10.
    pub views: usize,
    /// Images that were evaluated.
    pub num_samples: u64,
}

/// Measures a checkpoint's error on the validation split.
pub fn evaluate(options: &EvaluateOptions, stop: &Stop) -> Result<Report> {
    let chosen = Chosen::new(&options.compute)?;
    let dataset = Arc::new(Dataset::open(&options.shards)?);
    if dataset.split(Split::Val).num_samples() == 0 {
        return Err(Error::data(dataset.path(), "it has no validation split; pack it with one"));
    }
    let Opened { experiment, origin } = weights::open(&options.checkpoint, &options.given)?;
    let Experiment { state, network, parameters, mean, augmentation, .. } = experiment;
    check_classes(options, &state, &origin, &dataset.info().class_names())?;
    let augmentation = if mean == dataset.mean() { augmentation } else { augmentation.with_mean(&mean) };
    let validation = Validation {
        dataset: &dataset,
        augmentation: &augmentation,
        views: options.views,
        limit: options.limit,
        batch_size: options.batch_size,
        workers: options.workers.unwrap_or_else(|| chosen.default_workers()),
    };
    let mut backend = chosen.open(&network, BackendOptions::for_evaluation(options.batch_size))?;
    backend.load(&parameters)?;
    let rates = validation.run(backend.as_mut(), stop)?;
    let rates = rates.ok_or_else(|| Error::Training("stopped before every image was seen: no result".into()))?;
    Ok(Report {
        top1_error: rates.top1_error,
        top5_error: rates.top5_error,
        views: options.views.count(),
        num_samples: rates.num_samples,
    })
}

/// A checkpoint of ours knows its classes by name; another program's file may name the same classes otherwise.
fn check_classes(options: &EvaluateOptions, state: &RunState, origin: &Origin, classes: &[String]) -> Result<()> {
    let Origin::Converted(said) = origin else {
        return checkpoint::check_classes(&options.checkpoint, state, classes);
    };
    crate::tell!("{said}");
    if state.classes.len() != classes.len() {
        return checkpoint::check_classes(&options.checkpoint, state, classes);
    }
    let differing = state.classes.iter().zip(classes).filter(|(theirs, ours)| theirs != ours);
    if let Some((theirs, ours)) = differing.clone().next() {
        crate::tell!(
            "note: {} of {} classes are named otherwise in the dataset, the first {ours:?} for {theirs:?}; \
             they are compared by their order",
            differing.count(),
            classes.len()
        );
    }
    Ok(())
}
