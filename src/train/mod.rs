//! Training: from batches to checkpoints, the log, the metrics and the live page.
//!
//! In: [`TrainOptions`], a dataset's [`crate::input`] and a [`crate::backend`]. Out: a run's folder. The
//! [`trainer::Trainer`] owns one host copy of the weights beside the backend's.

pub mod checkpoint;
pub mod experiment;
pub mod feeder;
pub(crate) mod health;
pub mod live;
pub mod log;
pub mod metrics;
pub mod options;
pub(crate) mod record;
pub(crate) mod run_folder;
pub(crate) mod schedule;
pub mod server;
pub(crate) mod setup;
pub mod stepper;
pub mod stop;
pub mod trainer;
pub(crate) mod validation;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount};

use self::experiment::Experiment;
use self::feeder::Feeder;
use self::live::{About, Live};
use self::log::RunLog;
use self::metrics::{BuildInfo, Metrics};
pub use self::options::TrainOptions;
use self::record::Record;
use self::server::Server;
use self::setup::Setup;
use self::stop::Stop;
use self::trainer::{Outcome, Trainer, TrainerOptions};
use crate::backend::{Chosen, Device};
use crate::error::Result;
use crate::input::{BatchSource, PipelineOptions};
use crate::progress::Progress;
use crate::trace::{TraceFile, TraceSummary};

/// Trains as `options` say, until the end or until `stop` is asked for.
pub fn train(options: &TrainOptions, stop: &Stop) -> Result<Outcome> {
    train_observed(options, stop, |_, _| ())
}

/// As [`train`]; `observe` gets the run's metrics and its live page before its first step.
fn train_observed(
    options: &TrainOptions,
    stop: &Stop,
    observe: impl FnOnce(&Arc<Metrics>, &Arc<Live>),
) -> Result<Outcome> {
    let begun = Instant::now();
    let chosen = Chosen::new(&options.compute)?;
    let setup = Setup::new(options)?;
    let last_step = setup.last_step(options.steps);
    let workers = options.workers.unwrap_or_else(|| chosen.default_workers());
    let trace = options.trace.as_deref().map(TraceFile::create).transpose()?;
    let tracer = trace.as_ref().map(TraceFile::tracer).unwrap_or_default();
    let backend = chosen.open(&setup.experiment.network, setup.experiment.backend_options())?;
    let device = backend.device().clone();
    let input = PipelineOptions {
        buffers: options.buffers,
        ..PipelineOptions::new(backend.input_dtype(), workers, setup.experiment.state.step..last_step)
    };
    let source = setup.experiment.source(input, tracer.clone())?;
    setup.write_config(&device, workers)?;
    let metrics = Arc::new(metrics(&setup, &device, workers));
    let live = Arc::new(Live::new(about(&setup, &device, options.buffers, last_step)));
    observe(&metrics, &live);
    let unwatched = device.pci_bus_id.as_deref().and_then(|place| metrics.watch_gpu(place).err());
    let server = Server::start(options.metrics, Arc::clone(&metrics), Arc::clone(&live))?;
    announce(&device, chosen.describe()?.as_deref(), &setup, source.as_ref(), workers, last_step);
    if let Some(server) = &server {
        crate::say!("page       {}", server.page());
    }
    crate::say!("metrics    {}", server.as_ref().map_or_else(|| "off".into(), Server::metrics));
    if let Some(why) = unwatched {
        crate::say!("           without those of the GPU itself: {why}");
    }
    let record = record(&setup, &device, metrics, Arc::clone(&live), last_step, options.log_every)?;
    let feeder = Feeder::new(source).showing(Arc::clone(live.batch()));
    let trainer_options =
        TrainerOptions { last_step, workers, checkpoint_every: options.checkpoint_every, keep: options.keep };
    let outcome = Trainer::new(setup, backend, feeder, trainer_options, record, tracer)?.run(stop, begun);
    // The page names no files, as an error may.
    live.ended(&outcome.as_ref().map_or_else(|_| "failed".into(), |outcome| outcome.ended.to_string()));
    let outcome = outcome?;
    if let Some((trace, path)) = trace.zip(options.trace.as_deref()) {
        finish_trace(trace, path)?;
    }
    Ok(outcome)
}

fn metrics(setup: &Setup, device: &Device, workers: usize) -> Metrics {
    let build = BuildInfo {
        device: device.name.clone(),
        precision: device.precision.into(),
        recipe: setup.experiment.state.recipe.name.clone(),
    };
    let num_skipped = setup.experiment.dataset.as_ref().map_or(0, |dataset| dataset.info().num_skipped);
    let metrics = Metrics::new(&build, setup.folder.path(), num_skipped, workers);
    let schedule = &setup.experiment.state.schedule;
    if let Some(top1_error) = schedule.best_top1_error {
        // Each epoch ends with one validation.
        let num_until_best = (schedule.best_step / setup.plan.steps_per_epoch()) as u32;
        metrics.resumed(top1_error, schedule.num_validated - num_until_best);
    }
    metrics
}

fn about(setup: &Setup, device: &Device, num_buffers: usize, last_step: u64) -> About {
    let Experiment { state, augmentation, .. } = &setup.experiment;
    About {
        run: setup.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        recipe: state.recipe.name.clone(),
        device: device.name.clone(),
        precision: device.precision.into(),
        classes: state.classes.clone(),
        frame: augmentation.frame(),
        batch_size: state.recipe.settings.train.batch_size,
        num_buffers,
        first_step: state.step,
        last_step,
        steps_per_epoch: setup.plan.steps_per_epoch(),
    }
}

fn record(
    setup: &Setup,
    device: &Device,
    metrics: Arc<Metrics>,
    live: Arc<Live>,
    last_step: u64,
    log_every: u64,
) -> Result<Record> {
    let state = &setup.experiment.state;
    let mut log = RunLog::open(setup.folder.path(), state.step)?;
    live.past(&log::read(setup.folder.path())?);
    live.event(state.step, if state.step > 0 { "resumed" } else { "began" });
    log.event(state.step, state.epoch, beginning(setup, device))?;
    let batch_size = state.recipe.settings.train.batch_size as u64;
    let progress = Progress::new("training", "images", last_step * batch_size, state.step * batch_size);
    Ok(Record::new(log, metrics, live, progress, setup.experiment.network.num_classes, log_every))
}

fn finish_trace(trace: TraceFile, path: &Path) -> Result<()> {
    let TraceSummary { num_spans, num_dropped } = trace.finish()?;
    let missing = match num_dropped {
        0 => String::new(),
        num => format!(", {num} missing: they came faster than they could be written"),
    };
    crate::say!("trace      {}, {} spans{missing}", path.display(), HumanCount(num_spans));
    Ok(())
}

/// The first lines: device, precision, recipe, sizes, memory.
fn announce(
    device: &Device,
    about_device: Option<&str>,
    setup: &Setup,
    source: &dyn BatchSource,
    workers: usize,
    last_step: u64,
) {
    let state = &setup.experiment.state;
    let train = &state.recipe.settings.train;
    crate::say!("device     {}, precision {}", device.name, device.precision);
    if let Some(about_device) = about_device {
        crate::say!("           {about_device}");
    }
    crate::say!(
        "network    recipe {}, {} parameters, {} classes, width {}",
        state.recipe.name,
        HumanCount(setup.experiment.parameters.layout.num_parameters() as u64),
        state.classes.len(),
        state.recipe.settings.model.width
    );
    crate::say!(
        "data       {} training and {} validation images, batch {}, {} steps an epoch",
        HumanCount(setup.experiment.num_train() as u64),
        HumanCount(setup.experiment.num_val() as u64),
        train.batch_size,
        HumanCount(setup.plan.steps_per_epoch())
    );
    crate::say!(
        "memory     {} for the network, {} for input batches ({workers} {})",
        HumanBytes(device.memory_bytes),
        HumanBytes(source.memory_bytes()),
        if workers == 1 { "worker" } else { "workers" }
    );
    crate::say!(
        "run        {}, steps {} to {} of {} epochs, seed {}",
        setup.folder.path().display(),
        HumanCount(state.step),
        HumanCount(last_step),
        train.epochs,
        train.seed
    );
}

fn beginning(setup: &Setup, device: &Device) -> String {
    let on = format!("on {}, {}", device.name, device.precision);
    match &setup.from {
        Some(path) if setup.experiment.state.step > 0 => format!("resumed from {} {on}", path.display()),
        Some(path) => format!("began with the weights of {} {on}", path.display()),
        None => format!("began {on}"),
    }
}

#[cfg(test)]
mod tests;
