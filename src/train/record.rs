//! What a run leaves behind while it goes: the log, the metrics, the live page, the progress bar, and its warnings.

use std::sync::Arc;
use std::time::Instant;

use super::health::Health;
use super::live::Live;
use super::log::{Kind, Line, RunLog};
use super::metrics::{Metrics, Phase, RunTimes, StepObservation};
use super::validation::ErrorRates;
use crate::backend::Statistics;
use crate::error::Result;
use crate::input::stats::PipelineSnapshot;
use crate::model::Parameters;
use crate::progress::Progress;
use crate::trace::Interval;

/// The record of a run.
#[derive(Debug)]
pub struct Record {
    log: RunLog,
    metrics: Arc<Metrics>,
    live: Arc<Live>,
    progress: Progress,
    health: Health,
    log_every: u64,
    /// Since the last line of steps.
    line: Sums,
    /// Since the epoch began, or since this process did.
    epoch: Sums,
    /// Since this process began.
    run: Sums,
    /// Without the steps', which `run` has.
    times: RunTimes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    statistics: Statistics,
    seconds: f64,
    input_wait_seconds: f64,
    learning_rate: f64,
}

impl Sums {
    fn add(&mut self, observation: &StepObservation, statistics: &Statistics) {
        self.statistics.add(statistics);
        self.seconds += observation.step_seconds;
        self.input_wait_seconds += observation.input_wait_seconds;
        self.learning_rate = observation.learning_rate;
    }

    fn images_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.statistics.num_samples as f64 / self.seconds } else { 0.0 }
    }

    fn line(&self, kind: Kind, step: u64, epoch: u32) -> Line {
        let rates = ErrorRates::of(&self.statistics);
        Line {
            loss: rates.loss,
            top1_error: Some(rates.top1_error),
            top5_error: Some(rates.top5_error),
            learning_rate: Some(self.learning_rate),
            images_per_second: Some(self.images_per_second()),
            input_wait_seconds: Some(self.input_wait_seconds),
            seconds: Some(self.seconds),
            ..Line::new(kind, step, epoch)
        }
    }
}

impl Record {
    /// A record whose log gets a line of steps after each `log_every`.
    pub fn new(
        log: RunLog,
        metrics: Arc<Metrics>,
        live: Arc<Live>,
        progress: Progress,
        num_classes: usize,
        log_every: u64,
    ) -> Self {
        let health = Health::new(num_classes);
        let (line, epoch, run) = (Sums::default(), Sums::default(), Sums::default());
        Self { log, metrics, live, progress, health, log_every, line, epoch, run, times: RunTimes::default() }
    }

    /// The run's `step`th step ended. A loss that is not finite is an error.
    pub fn step(
        &mut self,
        step: u64,
        observation: &StepObservation,
        statistics: &Statistics,
        input: &PipelineSnapshot,
    ) -> Result<()> {
        for sums in [&mut self.line, &mut self.epoch, &mut self.run] {
            sums.add(observation, statistics);
        }
        let pace = self.metrics.step(observation, input);
        self.live.step(step, observation, statistics, input, pace);
        if step.is_multiple_of(self.log_every) {
            self.log.write(&self.line.line(Kind::Step, step, observation.epoch))?;
            self.line = Sums::default();
        }
        let learned = ErrorRates::of(&self.epoch.statistics);
        self.progress.say(&format!(
            "epoch {}, loss {:.3}, top-1 error {:.1}%",
            observation.epoch,
            observation.loss,
            100.0 * learned.top1_error
        ));
        self.progress.set_at_rate(step * observation.num_images, pace.images_per_second);
        match self.health.step(step, statistics) {
            Ok(None) => Ok(()),
            Ok(Some(warning)) => self.event(step, observation.epoch, &warning),
            Err(error) => {
                self.live.event(step, &error.to_string());
                self.log.event(step, observation.epoch, error.to_string())?;
                Err(error)
            }
        }
    }

    /// The epoch that ended with `step` was validated in `seconds`.
    pub fn validation(&mut self, step: u64, epoch: u32, rates: &ErrorRates, seconds: f64) -> Result<()> {
        let line = Line {
            loss: rates.loss,
            top1_error: Some(rates.top1_error),
            top5_error: Some(rates.top5_error),
            images_per_second: Some(rates.num_samples as f64 / seconds),
            seconds: Some(seconds),
            ..Line::new(Kind::Validation, step, epoch)
        };
        self.log.write(&line)?;
        self.live.line(&line);
        self.metrics.validation(rates.top1_error, rates.top5_error);
        self.progress.line(&format!(
            "epoch {epoch}: validation top-1 error {:.2}%, top-5 {:.2}%",
            100.0 * rates.top1_error,
            100.0 * rates.top5_error
        ));
        Ok(())
    }

    /// The last step of `epoch` was `step`.
    pub fn epoch(&mut self, step: u64, epoch: u32) -> Result<()> {
        if self.epoch.statistics.num_samples == 0 {
            // The epoch ended in the process before this one, which logged it.
            return Ok(());
        }
        let line = self.epoch.line(Kind::Epoch, step, epoch);
        self.log.write(&line)?;
        self.live.line(&line);
        let rates = ErrorRates::of(&self.epoch.statistics);
        self.progress.line(&format!(
            "epoch {epoch}: loss {:.4}, top-1 error {:.2}% in training, {:.0} images/s",
            rates.loss.unwrap_or(f64::NAN),
            100.0 * rates.top1_error,
            self.epoch.images_per_second()
        ));
        self.epoch = Sums::default();
        Ok(())
    }

    /// Something happened that people should know.
    pub fn event(&mut self, step: u64, epoch: u32, event: &str) -> Result<()> {
        self.progress.line(&format!("step {step}: {event}"));
        self.live.event(step, event);
        self.log.event(step, epoch, event)
    }

    /// The first step can begin, `seconds` after the run did.
    pub fn started(&mut self, seconds: f64) {
        self.times.start_seconds = seconds;
        self.metrics.started(seconds);
        self.live.enter(Phase::Train);
    }

    /// A validation or a checkpoint begins.
    pub fn enter(&self, phase: Phase) {
        self.metrics.enter(phase);
        self.live.enter(phase);
    }

    /// The weights are these after `step` steps.
    pub fn weights(&self, step: u64, parameters: &Parameters) {
        self.live.weights(step, parameters);
    }

    /// A validation or a checkpoint ended after `seconds`.
    pub fn left(&mut self, phase: Phase, seconds: f64) {
        match phase {
            Phase::Validation => self.times.validation_seconds += seconds,
            Phase::Checkpoint => self.times.checkpoint_seconds += seconds,
            Phase::Start | Phase::Train => {}
        }
        self.metrics.left(phase, seconds);
        self.live.enter(Phase::Train);
    }

    /// Where the time of this process went.
    pub fn times(&self) -> RunTimes {
        RunTimes { step_seconds: self.run.seconds, ..self.times }
    }

    /// Images trained a second by this process, validations and checkpoints aside.
    pub fn images_per_second(&self) -> f64 {
        self.run.images_per_second()
    }
}

/// Measures the time between the ends of steps, with everything else left out.
#[derive(Debug)]
pub struct StepClock(Instant);

impl StepClock {
    /// Begins the first lap.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds from the end of the step before, or the last restart, to the end of this one.
    pub fn lap(&mut self, ended: Instant) -> f64 {
        let seconds = ended.saturating_duration_since(self.0).as_secs_f64();
        self.0 = self.0.max(ended);
        seconds
    }

    /// Steps are counted from now on.
    pub fn restart(&mut self) {
        self.0 = Instant::now();
    }

    /// What was done in this interval, after the end of the step before, is no step's.
    pub fn leave_out(&mut self, interval: Interval) {
        self.0 += interval.ended - interval.begun;
    }
}
