//! Reports: what a run did, as one page that needs nothing else.
//!
//! In: a run's folder, and the shards that it names. Out: one HTML file, pictures included. While the network looks at
//! the validation images the report owns, beside the backend, what is said of each image (some 150 bytes) and the
//! activations of fc7 of the first 2,000 (33 MB at full width).

pub mod compare;
mod evaluation;
mod history;
mod neighbours;
mod page;
mod pictures;
mod run;
mod sections;
pub mod tensorboard;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::evaluation::Pass;
use self::run::Run;
use self::sections::{
    Evaluated, classes, confusion, curves, header, kernels, mistakes, nearest, panels, settings, times,
};
use crate::backend::{Choice, Chosen};
use crate::error::{Error, Result};
use crate::publish::publish_bytes;
use crate::shard::{Dataset, Split};
use crate::train::checkpoint;
use crate::train::experiment::Experiment;
use crate::train::stop::Stop;

/// What a report is asked for.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// The run's folder.
    pub run: PathBuf,
    /// The page; by default `report.html` in the run's folder.
    pub out: Option<PathBuf>,
    /// The dataset; by default the one that the run's configuration names.
    pub shards: Option<PathBuf>,
    /// The checkpoint to look at; by default that of the lowest validation error, or else the newest.
    pub checkpoint: Option<PathBuf>,
    /// Only the first so many validation images.
    pub limit: Option<usize>,
    /// Images of a pass through the network.
    pub batch_size: usize,
    /// Who computes, and how.
    pub compute: Choice,
    /// Threads that crop; by default as many as suit the device.
    pub workers: Option<usize>,
}

impl ReportOptions {
    /// The defaults of the command line.
    pub fn new(run: impl Into<PathBuf>, compute: Choice) -> Self {
        let (out, shards, checkpoint, limit, workers) = (None, None, None, None, None);
        Self { run: run.into(), out, shards, checkpoint, limit, batch_size: 40, compute, workers }
    }
}

/// What a report became.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// The page.
    pub page: PathBuf,
    /// The checkpoint's top-1 error on the validation images, 0 to 1, if they were looked at.
    pub top1_error: Option<f64>,
    /// Likewise the share of images whose class is not among the five likeliest.
    pub top5_error: Option<f64>,
    /// Why images were not looked at.
    pub missing: Option<String>,
}

/// Writes the report of a run, which may still be going on.
pub fn report(options: &ReportOptions, stop: &Stop) -> Result<Reported> {
    let run = Run::read(&options.run)?;
    let checkpoint = options.checkpoint.clone().or_else(|| run.best_checkpoint().map(|(_, path)| path.clone()));
    let experiment = checkpoint.as_deref().map(Experiment::read).transpose()?;
    let evaluated = match (&checkpoint, &experiment) {
        (Some(path), Some(experiment)) => evaluate(options, &run, path, experiment, stop)?,
        _ => Err("The run has no checkpoint yet.".to_owned()),
    };
    let html = html(&run, experiment.as_ref(), evaluated.as_ref().map_err(String::as_str));
    let page = options.out.clone().unwrap_or_else(|| options.run.join("report.html"));
    publish_bytes(html.as_bytes(), &page)?;
    let rates = evaluated.as_ref().ok().map(|evaluated| evaluated.evaluation.rates);
    Ok(Reported {
        page,
        top1_error: rates.map(|rates| rates.top1_error),
        top5_error: rates.map(|rates| rates.top5_error),
        missing: evaluated.err(),
    })
}

fn html(run: &Run, experiment: Option<&Experiment>, evaluated: Result<&Evaluated, &str>) -> String {
    let mut sections = curves::curves(run);
    if let Some(experiment) = experiment {
        sections.extend(kernels::first_kernels(&experiment.parameters, experiment.settings().model.towers));
    }
    if let Ok(evaluated) = evaluated {
        sections.push(panels::panels(evaluated));
        sections.extend(nearest::neighbours(evaluated));
        sections.extend(mistakes::mistakes(evaluated));
        sections.push(classes::classes(evaluated));
        sections.push(confusion::confusion(evaluated));
    }
    sections.extend(times::times(run));
    sections.push(settings::settings(run));
    sections.extend(settings::circumstances(run));
    sections.extend(settings::events(run));
    page::page(&format!("Report of {}", run.name), &header::header(run, evaluated), &sections)
}

/// Looks at the validation images, or says why it cannot. What was asked for and cannot be had is an error.
fn evaluate(
    options: &ReportOptions,
    run: &Run,
    path: &Path,
    experiment: &Experiment,
    stop: &Stop,
) -> Result<Result<Evaluated, String>> {
    let dataset = match open_dataset(options, run, path, experiment) {
        Ok(dataset) => Arc::new(dataset),
        Err(error) if options.shards.is_some() => return Err(error),
        Err(error) => return Ok(Err(format!("{error}. If the shards have moved: --shards OUT."))),
    };
    let chosen = Chosen::new(&options.compute)?;
    let workers = options.workers.unwrap_or_else(|| chosen.default_workers());
    let pass = Pass { chosen: &chosen, limit: options.limit, batch_size: options.batch_size, workers };
    let evaluation = pass.run(experiment, &dataset, stop)?;
    Ok(Ok(Evaluated {
        checkpoint: path.to_path_buf(),
        dataset,
        classes: experiment.state.classes.clone(),
        crop: experiment.augmentation.frame().crop,
        evaluation,
    }))
}

fn open_dataset(options: &ReportOptions, run: &Run, path: &Path, experiment: &Experiment) -> Result<Dataset> {
    let named = options.shards.clone().or_else(|| run.told("shards").map(PathBuf::from));
    let shards = named.ok_or_else(|| Error::data(run.path.join("config.toml"), "it names no shards"))?;
    let dataset = Dataset::open(&shards)?;
    if dataset.split(Split::Val).num_samples() == 0 {
        return Err(Error::data(dataset.path(), "it has no validation split"));
    }
    checkpoint::check_classes(path, &experiment.state, &dataset.info().class_names())?;
    Ok(dataset)
}
