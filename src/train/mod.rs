//! Training: from batches to checkpoints, the log and the metrics.
//!
//! In: [`Options`], a dataset's [`crate::input`] and a [`crate::backend`]. Out: a run's folder. The [`trainer::Trainer`]
//! owns one host copy of the weights beside the backend's.

pub mod checkpoint;
pub mod feeder;
pub mod health;
pub mod log;
pub mod metrics;
pub mod options;
pub mod record;
pub mod run_folder;
pub mod schedule;
pub mod setup;
pub mod stepper;
pub mod stop;
pub mod trainer;

use std::sync::Arc;

use indicatif::{HumanBytes, HumanCount};

use self::feeder::Feeder;
use self::log::RunLog;
use self::metrics::server::Server;
use self::metrics::{BuildInfo, Metrics};
pub use self::options::Options;
use self::record::Record;
use self::setup::Setup;
use self::stop::Stop;
use self::trainer::{Outcome, Trainer, TrainerOptions};
use crate::backend::{Backend, BackendOptions, Chosen, Work};
use crate::error::Result;
use crate::input::synthetic::{SyntheticOptions, SyntheticSource};
use crate::input::{BatchSource, Pipeline, PipelineOptions, Plan};
use crate::progress::Progress;
use crate::shard::Split;
use crate::trace::{TraceFile, TraceSummary, Tracer};

/// Trains as `options` say, until the end or until `stop` is asked for.
pub fn run(options: &Options, stop: &Stop) -> Result<Outcome> {
    let chosen = Chosen::new(&options.compute)?;
    let setup = Setup::new(options)?;
    let train = &setup.state.recipe.settings.train;
    let backend_options = BackendOptions {
        batch_size: train.batch_size,
        seed: train.seed,
        momentum: train.momentum as f32,
        weight_decay: train.weight_decay as f32,
    };
    let workers = options.workers.unwrap_or_else(|| chosen.default_workers());
    let network = setup.network.clone();
    let about_device = chosen.describe()?;
    let trace = options.trace.as_deref().map(TraceFile::create).transpose()?;
    let tracer = trace.as_ref().map(TraceFile::tracer).unwrap_or_default();
    let run = Run { setup, options, stop, workers, about_device, tracer };
    let outcome = chosen.run(&network, backend_options, run)?;
    if let Some((trace, path)) = trace.zip(options.trace.as_deref()) {
        let TraceSummary { num_spans, num_dropped } = trace.finish()?;
        let missing = match num_dropped {
            0 => String::new(),
            num => format!(", {num} missing: they came faster than they could be written"),
        };
        crate::say!("trace      {}, {} spans{missing}", path.display(), HumanCount(num_spans));
    }
    Ok(outcome)
}

/// A run that waits for its backend.
struct Run<'a> {
    setup: Setup,
    options: &'a Options,
    stop: &'a Stop,
    workers: usize,
    about_device: Option<String>,
    tracer: Tracer,
}

impl Work for Run<'_> {
    type Output = Outcome;

    fn run<B: Backend>(self, backend: B) -> Result<Outcome> {
        run_on(backend, self)
    }
}

fn run_on<B: Backend>(backend: B, run: Run<'_>) -> Result<Outcome> {
    let Run { setup, options, stop, workers, about_device, tracer } = run;
    let last_step = setup.last_step(options.steps);
    let source = source(&backend, &setup, workers, options.buffers, last_step, &tracer)?;
    let device = backend.device();
    setup.write_config(&device.name, device.precision, workers)?;
    let build = BuildInfo {
        device: device.name.clone(),
        precision: device.precision.into(),
        recipe: setup.state.recipe.name.clone(),
    };
    let num_skipped = setup.dataset.as_ref().map_or(0, |dataset| dataset.info().num_skipped);
    let metrics = Arc::new(Metrics::new(&build, num_skipped, workers));
    let server = Server::start(options.metrics, Arc::clone(&metrics))?;
    announce(&backend, about_device.as_deref(), &setup, source.as_ref(), workers, last_step);
    crate::say!("metrics    {}", server.as_ref().map_or_else(|| "off".into(), Server::describe));
    let state = &setup.state;
    let mut log = RunLog::open(setup.folder.path(), state.step)?;
    log.event(state.step, state.epoch, beginning(&setup, device))?;
    let batch_size = state.recipe.settings.train.batch_size as u64;
    let progress = Progress::new("training", "images", last_step * batch_size, state.step * batch_size);
    let record = Record::new(log, metrics, progress, setup.network.num_classes, options.log_every);
    let trainer_options =
        TrainerOptions { last_step, workers, checkpoint_every: options.checkpoint_every, keep: options.keep };
    Trainer::new(setup, backend, Feeder::new(source), trainer_options, record, tracer)?.run(stop)
}

fn source<B: Backend>(
    backend: &B,
    setup: &Setup,
    workers: usize,
    buffers: usize,
    last_step: u64,
    tracer: &Tracer,
) -> Result<Box<dyn BatchSource>> {
    let steps = setup.state.step..last_step;
    let dtype = backend.input_dtype();
    let Some(dataset) = &setup.dataset else {
        return Ok(Box::new(SyntheticSource::new(&SyntheticOptions {
            seed: setup.state.recipe.settings.train.seed,
            dtype,
            batch_size: setup.state.recipe.settings.train.batch_size,
            frame: setup.augmentation.frame(),
            num_classes: setup.network.num_classes,
            buffers,
            steps_per_epoch: setup.plan.steps_per_epoch(),
            steps,
        })?));
    };
    let plan = Plan::Train(setup.plan.clone());
    let options = PipelineOptions { buffers, ..PipelineOptions::new(dtype, workers, steps) };
    let (dataset, augmentation) = (Arc::clone(dataset), setup.augmentation.clone());
    Ok(Box::new(Pipeline::start_traced(dataset, Split::Train, plan, augmentation, options, tracer.clone())?))
}

/// The first lines: device, precision, recipe, sizes, memory.
fn announce<B: Backend>(
    backend: &B,
    about_device: Option<&str>,
    setup: &Setup,
    source: &dyn BatchSource,
    workers: usize,
    last_step: u64,
) {
    let (device, state) = (backend.device(), &setup.state);
    let train = &state.recipe.settings.train;
    crate::say!("device     {}, precision {}", device.name, device.precision);
    if let Some(about_device) = about_device {
        crate::say!("           {about_device}");
    }
    crate::say!(
        "network    recipe {}, {} parameters, {} classes, width {}",
        state.recipe.name,
        HumanCount(setup.parameters.layout.num_parameters() as u64),
        state.classes.len(),
        state.recipe.settings.model.width
    );
    crate::say!(
        "data       {} training and {} validation images, batch {}, {} steps an epoch",
        HumanCount(setup.num_train() as u64),
        HumanCount(setup.num_val() as u64),
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

fn beginning(setup: &Setup, device: &crate::backend::Device) -> String {
    let on = format!("on {}, {}", device.name, device.precision);
    match &setup.from {
        Some(path) if setup.state.step > 0 => format!("resumed from {} {on}", path.display()),
        Some(path) => format!("began with the weights of {} {on}", path.display()),
        None => format!("began {on}"),
    }
}
