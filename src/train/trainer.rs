//! The loop: steps, validations and checkpoints in their order.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{self, RunState};
use super::experiment::Experiment;
use super::feeder::Feeder;
use super::health::not_finite;
use super::metrics::{Phase, RunTimes};
use super::record::Record;
use super::run_folder::RunFolder;
use super::schedule::Change;
use super::setup::Setup;
use super::stepper::{Next, Settled, Stepper};
use super::stop::Stop;
use super::validation::{ErrorRates, Validation};
use crate::backend::Backend;
use crate::error::Result;
use crate::input::{NumViews, TrainPlan};
use crate::shard::{Dataset, Split};
use crate::trace::{Interval, Tracer, Track};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done since the run began.
    pub step: u64,
    /// Whether the run reached its end.
    pub ended: Ended,
    /// The last validation of this process.
    pub validation: Option<ErrorRates>,
    /// The newest checkpoint; none in a synthetic run.
    pub checkpoint: Option<PathBuf>,
    /// The run's folder.
    pub run: PathBuf,
    /// Images trained a second, by this process, validations and checkpoints aside.
    pub images_per_second: f64,
    /// Where the time of this process went.
    pub times: RunTimes,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All its epochs, or `--steps`, are done.
    Done,
    /// It was asked to stop.
    Stopped,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Done => "done",
            Self::Stopped => "stopped; --resume continues",
        })
    }
}

/// How far a run goes, and what it leaves on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainerOptions {
    /// The run ends when it has done so many steps.
    pub last_step: u64,
    /// Threads that crop for validations.
    pub workers: usize,
    /// A checkpoint after so many steps, beside those at the ends of epochs.
    pub checkpoint_every: Option<u64>,
    /// How many of the newest checkpoints stay.
    pub keep: usize,
}

/// A run on a backend.
pub struct Trainer {
    experiment: Experiment,
    plan: TrainPlan,
    folder: RunFolder,
    stepper: Stepper,
    options: TrainerOptions,
    record: Record,
    tracer: Tracer,
    /// What the newest checkpoint holds.
    saved: Option<RunState>,
    validation: Option<ErrorRates>,
}

impl Trainer {
    /// A run that `setup` has decided, on a backend whose weights it loads.
    pub fn new(
        setup: Setup,
        mut backend: Box<dyn Backend>,
        feeder: Feeder,
        options: TrainerOptions,
        record: Record,
        tracer: Tracer,
    ) -> Result<Self> {
        let Setup { experiment, plan, folder, .. } = setup;
        backend.load(&experiment.parameters)?;
        let saved = (experiment.state.step > 0).then(|| experiment.state.clone());
        record.weights(experiment.state.step, &experiment.parameters);
        let stepper = Stepper::new(backend, feeder, tracer.clone());
        Ok(Self { experiment, plan, folder, stepper, options, record, tracer, saved, validation: None })
    }

    /// Trains to the last step, or until `stop` is asked for; either way a checkpoint holds the end. The run `begun`
    /// then.
    pub fn run(mut self, stop: &Stop, begun: Instant) -> Result<Outcome> {
        self.record.started(begun.elapsed().as_secs_f64());
        self.stepper.restart_clock();
        self.checkpoint()?;
        while !stop.requested() {
            if self.ends_unvalidated_epoch() {
                self.finish_epoch(stop)?;
            } else if self.experiment.state.step < self.options.last_step {
                self.step()?;
                if self.options.checkpoint_every.is_some_and(|every| self.experiment.state.step.is_multiple_of(every)) {
                    self.checkpoint()?;
                }
            } else {
                break;
            }
        }
        let checkpoint = self.checkpoint()?;
        let state = &self.experiment.state;
        let done = state.step >= self.options.last_step && !self.ends_unvalidated_epoch();
        Ok(Outcome {
            step: state.step,
            ended: if done { Ended::Done } else { Ended::Stopped },
            validation: self.validation,
            checkpoint,
            run: self.folder.path().to_path_buf(),
            images_per_second: self.record.images_per_second(),
            times: self.record.times(),
        })
    }

    /// Does a step, and records the one before it.
    fn step(&mut self) -> Result<()> {
        let step = self.experiment.state.step;
        let validates_next = (step + 1).is_multiple_of(self.plan.steps_per_epoch());
        let follows = step + 1 < self.options.last_step && !validates_next;
        let next = if follows { Next::Feed } else { Next::Nothing };
        let (train, schedule) = (&self.experiment.settings().train, &self.experiment.state.schedule);
        let learning_rate = schedule.learning_rate(train, step, self.plan.steps_per_epoch());
        let before = self.stepper.step(step, next, learning_rate)?;
        self.experiment.state.step = step + 1;
        self.experiment.state.epoch = self.plan.epoch(step + 1);
        self.write_down(before)
    }

    fn write_down(&mut self, settled: Option<Settled>) -> Result<()> {
        let Some(Settled { num_steps, observation, statistics }) = settled else { return Ok(()) };
        assert_eq!(
            observation.epoch,
            self.plan.epoch(num_steps - 1),
            "the epoch of the batch of step {}",
            num_steps - 1
        );
        self.record.step(num_steps, &observation, &statistics, &self.stepper.snapshot())
    }

    fn settle_last(&mut self) -> Result<()> {
        let settled = self.stepper.settle()?;
        self.write_down(settled)
    }

    fn ends_unvalidated_epoch(&self) -> bool {
        let (state, steps_per_epoch) = (&self.experiment.state, self.plan.steps_per_epoch());
        state.step.is_multiple_of(steps_per_epoch)
            && state.step / steps_per_epoch > u64::from(state.schedule.num_validated)
    }

    /// Validates the epoch that just ended, adapts the learning rate and writes a checkpoint. A run that is stopped in
    /// the middle of it validates again when it is resumed.
    fn finish_epoch(&mut self, stop: &Stop) -> Result<()> {
        self.settle_last()?;
        self.stepper.take_all_back()?;
        let (step, epoch) = (self.experiment.state.step, self.experiment.state.schedule.num_validated);
        self.record.epoch(step, epoch)?;
        let Some(dataset) =
            self.experiment.dataset.clone().filter(|dataset| dataset.split(Split::Val).num_samples() > 0)
        else {
            // Nothing to validate on; the epoch counts as validated.
            self.experiment.state.schedule.num_validated += 1;
            self.checkpoint()?;
            return Ok(());
        };
        self.record.enter(Phase::Validation);
        let begun = Instant::now();
        let rates = self.validate(&dataset, stop)?;
        let validation = Interval::since(begun);
        self.stepper.leave_out(validation);
        self.record.left(Phase::Validation, validation.seconds());
        self.tracer.span(Track::Trainer, "validation", step, validation);
        let Some(rates) = rates else { return Ok(()) };
        self.record.validation(step, epoch, &rates, validation.seconds())?;
        self.validation = Some(rates);
        let RunState { recipe, schedule, .. } = &mut self.experiment.state;
        let train = &recipe.settings.train;
        let change = schedule.validated(train, step, rates.top1_error);
        if change == Change::Dropped {
            let rate = schedule.learning_rate(train, step, self.plan.steps_per_epoch());
            let event = format!("the validation error has stopped improving: learning rate {rate:e}");
            self.record.event(step, epoch, &event)?;
        }
        self.checkpoint()?;
        Ok(())
    }

    fn validate(&mut self, dataset: &Arc<Dataset>, stop: &Stop) -> Result<Option<ErrorRates>> {
        let validation = Validation {
            dataset,
            augmentation: &self.experiment.augmentation,
            views: NumViews::One,
            limit: None,
            batch_size: self.experiment.settings().train.batch_size,
            workers: self.options.workers,
        };
        validation.run(self.stepper.backend(), stop)
    }

    /// Writes a checkpoint unless the newest is of this very state, and deletes old ones. Its time is no step's.
    fn checkpoint(&mut self) -> Result<Option<PathBuf>> {
        self.settle_last()?;
        self.record.enter(Phase::Checkpoint);
        let begun = Instant::now();
        let path = self.save()?;
        let checkpoint = Interval::since(begun);
        self.stepper.leave_out(checkpoint);
        self.record.left(Phase::Checkpoint, checkpoint.seconds());
        Ok(path)
    }

    fn save(&mut self) -> Result<Option<PathBuf>> {
        if self.experiment.dataset.is_none() {
            return Ok(None);
        }
        let folder = self.folder.checkpoints();
        let path = folder.join(checkpoint::file_name(self.experiment.state.step));
        if self.saved.as_ref() == Some(&self.experiment.state) {
            return Ok(Some(path));
        }
        let begun = Instant::now();
        self.stepper.backend().store(&mut self.experiment.parameters)?;
        let values = self.experiment.parameters.values.iter().chain(&self.experiment.parameters.velocities);
        if !values.into_iter().all(|value| value.is_finite()) {
            return Err(not_finite(self.experiment.state.step, "a weight or a velocity is not finite"));
        }
        self.record.weights(self.experiment.state.step, &self.experiment.parameters);
        checkpoint::write::write(&path, &self.experiment.state, &self.experiment.parameters, &self.experiment.mean)?;
        self.saved = Some(self.experiment.state.clone());
        checkpoint::prune(&folder, self.options.keep, self.experiment.state.schedule.best_step)?;
        self.tracer.span(Track::Trainer, "checkpoint", self.experiment.state.step, Interval::since(begun));
        Ok(Some(path))
    }
}
