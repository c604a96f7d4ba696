//! The loop's one step: the backend runs it while the next batch goes up to it.

use std::time::Instant;

use super::feeder::{Fed, Feeder};
use super::metrics::StepObservation;
use super::record::StepClock;
use crate::backend::{Backend, Pass, Slot, Statistics, StepScalars};
use crate::error::Result;
use crate::input::stats::PipelineSnapshot;
use crate::trace::{Interval, Tracer, Track};

/// Keeps a backend busy with the batches of a feeder.
pub struct Stepper {
    backend: Box<dyn Backend>,
    feeder: Feeder,
    clock: StepClock,
    tracer: Tracer,
    /// The batch that lies in its slot and has not been launched.
    fed: Option<Fed>,
    /// The step that was launched last, until its statistics are read.
    launched: Option<Launched>,
}

/// A step that the backend works on.
#[derive(Clone, Copy, Debug)]
struct Launched {
    step: u64,
    launch: Interval,
    observation: StepObservation,
}

/// A step that is done.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// Steps done with it.
    pub num_steps: u64,
    /// Its times and rates.
    pub observation: StepObservation,
    /// Its loss and errors.
    pub statistics: Statistics,
}

/// Whether a batch is brought up while the step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next step's batch is uploaded while this step runs.
    Feed,
    /// None: the run or the epoch ends here.
    Nothing,
}

impl Stepper {
    /// Of a backend that holds its weights.
    pub fn new(backend: Box<dyn Backend>, feeder: Feeder, tracer: Tracer) -> Self {
        let feeder = feeder.traced(tracer.clone());
        Self { backend, feeder, clock: StepClock::start(), tracer, fed: None, launched: None }
    }

    /// Launches `step`, brings the next batch up while it runs, and reads what the step before it found.
    pub fn step(&mut self, step: u64, next: Next, learning_rate: f64) -> Result<Option<Settled>> {
        let fed = match self.fed.take() {
            Some(fed) => fed,
            // The first step, and the first after a validation.
            None => self.feed(step)?,
        };
        assert_eq!(fed.step, step, "the step of the batch in its slot");
        let scalars = StepScalars { step, learning_rate: learning_rate as f32 };
        let begun = Instant::now();
        self.backend.run(Slot::of_step(step), Pass::Train, scalars)?;
        let launch = Interval::since(begun);
        let observation = StepObservation {
            num_images: fed.num_valid as u64,
            epoch: fed.epoch,
            learning_rate,
            input_wait_seconds: fed.input_wait_seconds,
            upload_seconds: fed.upload.seconds(),
            upload_bytes: fed.num_bytes,
            compute_seconds: launch.seconds(),
            ..StepObservation::default()
        };
        self.tracer.span(Track::Trainer, "launch", step, launch);
        let before = self.launched.replace(Launched { step, launch, observation });
        if next == Next::Feed {
            self.fed = Some(self.feed(step + 1)?);
        }
        before.map(|before| self.read(before)).transpose()
    }

    /// Waits for the step that was launched last, if it has not been read.
    pub fn settle(&mut self) -> Result<Option<Settled>> {
        self.launched.take().map(|launched| self.read(launched)).transpose()
    }

    fn feed(&mut self, step: u64) -> Result<Fed> {
        let fed = self.feeder.feed(self.backend.as_mut(), Slot::of_step(step))?;
        Ok(fed.unwrap_or_else(|| panic!("the source ended before step {step}")))
    }

    fn read(&mut self, launched: Launched) -> Result<Settled> {
        let Launched { step, launch, mut observation } = launched;
        let (slot, begun) = (Slot::of_step(step), Instant::now());
        let statistics = self.backend.statistics(slot)?;
        self.tracer.span(Track::Trainer, "statistics wait", step, Interval::since(begun));
        let computed = match self.backend.device_times(slot)? {
            Some(times) => {
                observation.upload_seconds = times.upload.seconds();
                self.tracer.span(Track::Upload, "upload", step, times.upload);
                times.step
            }
            // The call returned when the step was done.
            None => launch,
        };
        observation.compute_seconds = computed.seconds();
        self.tracer.span(Track::Device, "step", step, computed);
        observation.loss = statistics.loss_sum / statistics.num_samples as f64;
        observation.step_seconds = self.clock.lap(computed.ended);
        Ok(Settled { num_steps: step + 1, observation, statistics })
    }

    /// Steps are counted from now on.
    pub fn restart_clock(&mut self) {
        self.clock.restart();
    }

    /// What was done in this interval is no step's. All steps were settled before it began.
    pub fn leave_out(&mut self, interval: Interval) {
        self.clock.leave_out(interval);
    }

    /// Gives the source its batches back, so that the backend is free for something else.
    pub fn take_all_back(&mut self) -> Result<()> {
        self.feeder.take_all_back(self.backend.as_mut())
    }

    /// Between steps that were settled.
    pub fn backend(&mut self) -> &mut dyn Backend {
        self.backend.as_mut()
    }

    /// Ends: the batches go back to their source, and the source goes.
    pub fn into_backend(mut self) -> Result<Box<dyn Backend>> {
        self.take_all_back()?;
        Ok(self.backend)
    }

    /// What the source has counted.
    pub fn snapshot(&self) -> PipelineSnapshot {
        self.feeder.snapshot()
    }
}
