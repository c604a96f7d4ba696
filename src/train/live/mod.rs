//! What the live page shows: where a run stands and how it came there, in bounded memory.
//!
//! In: each settled step, line of the log, event and phase, from the run's record; a copy of some images and of
//! conv1's weights. Out: HTML fragments and pictures, which [`super::server`] serves. The trainer only ever adds
//! numbers; all drawing happens on the server's thread, and only while somebody looks.

pub(crate) mod batch;
pub(crate) mod history;
pub(crate) mod page;
pub(crate) mod pictures;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;

use self::batch::BatchCopy;
use self::history::Series;
use self::pictures::{Kernels, Pictures};
use super::log::{Kind, Line};
use super::metrics::{Pace, Phase, StepObservation};
use crate::backend::Statistics;
use crate::input::Frame;
use crate::input::stats::PipelineSnapshot;
use crate::model::Parameters;

/// Events that are shown, the newest.
const MAX_EVENTS: usize = 20;
/// Characters of an event that are shown.
const MAX_EVENT_CHARACTERS: usize = 600;
/// Epochs that are shown, the newest.
const MAX_EPOCHS: usize = 10;

/// What does not change while a run goes.
#[derive(Clone, Debug)]
pub struct About {
    /// The name of the run's folder.
    pub run: String,
    /// The recipe's name.
    pub recipe: String,
    /// As the backend describes it.
    pub device: String,
    /// `f32`, `tf32` or `bf16`.
    pub precision: String,
    /// Class names in the order of their labels.
    pub classes: Vec<String>,
    /// How the network sees a sample.
    pub frame: Frame,
    /// Images of a step.
    pub batch_size: usize,
    /// Host batches in circulation.
    pub num_buffers: usize,
    /// Steps that a process before this one did.
    pub first_step: u64,
    /// The run ends when it has done so many steps.
    pub last_step: u64,
    /// The length of an epoch.
    pub steps_per_epoch: u64,
}

/// A run as the page shows it, shared by the trainer and the server.
#[derive(Debug)]
pub struct Live {
    about: About,
    state: Mutex<State>,
    batch: Arc<BatchCopy>,
    /// Of the server's thread alone, so that the trainer never waits for a picture.
    pictures: Mutex<Pictures>,
    /// Tells the pictures of this process from those of another.
    id: u64,
}

/// What changes while a run goes.
#[derive(Clone, Debug)]
struct State {
    begun: Instant,
    phase: Phase,
    /// How the run ended, if it has.
    ended: Option<String>,
    step: u64,
    epoch: u32,
    learning_rate: Option<f64>,
    pace: Option<Pace>,
    queues: PipelineSnapshot,
    train: Learned,
    validation: Learned,
    images_per_second: Series,
    ready_batches: Series,
    /// The newest last.
    epochs: VecDeque<Epoch>,
    best: Option<Best>,
    kernels: Option<Arc<Kernels>>,
    /// The newest last.
    events: VecDeque<Event>,
}

/// How well the network does, by step.
#[derive(Clone, Debug, Default)]
struct Learned {
    loss: Series,
    top1_error: Series,
    top5_error: Series,
}

/// What the log says of an epoch.
#[derive(Clone, Debug)]
struct Epoch {
    epoch: u32,
    train: Option<Line>,
    validation: Option<Line>,
}

/// The first of the lowest validation errors.
#[derive(Clone, Copy, Debug)]
struct Best {
    top1_error: f64,
    epoch: u32,
}

#[derive(Clone, Debug)]
struct Event {
    step: u64,
    seconds: f64,
    text: String,
}

impl Learned {
    fn add(&mut self, step: u64, [loss, top1_error, top5_error]: [Option<f64>; 3], num_steps: u64) {
        let series = [&mut self.loss, &mut self.top1_error, &mut self.top5_error];
        for (series, value) in series.into_iter().zip([loss, top1_error, top5_error]) {
            series.add(step, value.unwrap_or(f64::NAN), num_steps);
        }
    }
}

impl Live {
    /// A run before its first step.
    pub fn new(about: About) -> Self {
        let state = State {
            begun: Instant::now(),
            phase: Phase::Start,
            ended: None,
            step: about.first_step,
            epoch: (about.first_step / about.steps_per_epoch) as u32,
            learning_rate: None,
            pace: None,
            queues: PipelineSnapshot::default(),
            train: Learned::default(),
            validation: Learned::default(),
            images_per_second: Series::default(),
            ready_batches: Series::default(),
            epochs: VecDeque::with_capacity(MAX_EPOCHS),
            best: None,
            kernels: None,
            events: VecDeque::with_capacity(MAX_EVENTS),
        };
        let batch = Arc::new(BatchCopy::new(about.frame));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { about, state: Mutex::new(state), batch, pictures: Mutex::default(), id: now.as_millis() as u64 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the trainer shows its batches.
    pub fn batch(&self) -> &Arc<BatchCopy> {
        &self.batch
    }

    /// The run's `step`th step ended.
    pub fn step(
        &self,
        step: u64,
        observation: &StepObservation,
        statistics: &Statistics,
        input: &PipelineSnapshot,
        pace: Pace,
    ) {
        let num_samples = statistics.num_samples as f64;
        let error = |num_right: u64| Some(1.0 - num_right as f64 / num_samples);
        let learned = [Some(observation.loss), error(statistics.num_top1), error(statistics.num_top5)];
        let mut state = self.state();
        state.step = step;
        state.epoch = observation.epoch;
        state.learning_rate = Some(observation.learning_rate);
        state.pace = Some(pace);
        state.queues = *input;
        state.train.add(step, learned, 1);
        state.images_per_second.add(step, pace.images_per_second, 1);
        state.ready_batches.add(step, input.ready_batches as f64, 1);
    }

    /// The log got a line about an epoch or a validation.
    pub fn line(&self, line: &Line) {
        let mut state = self.state();
        match line.kind {
            Kind::Epoch => state.epoch_row(line.epoch).train = Some(line.clone()),
            Kind::Validation => {
                state.epoch_row(line.epoch).validation = Some(line.clone());
                state.validation.add(line.step, [line.loss, line.top1_error, line.top5_error], 1);
                if let Some(top1_error) = line.top1_error
                    && state.best.is_none_or(|best| top1_error < best.top1_error)
                {
                    state.best = Some(Best { top1_error, epoch: line.epoch });
                }
            }
            Kind::Step | Kind::Event => {}
        }
    }

    /// What the processes before this one have logged of the run; their events name files, and stay in the log.
    pub fn past(&self, lines: &[Line]) {
        let mut before = 0;
        for line in lines {
            self.line(line);
            if line.kind == Kind::Step {
                let mut state = self.state();
                let num_steps = line.step.saturating_sub(before);
                state.train.add(line.step, [line.loss, line.top1_error, line.top5_error], num_steps);
                state.images_per_second.add(line.step, line.images_per_second.unwrap_or(f64::NAN), num_steps);
                before = line.step;
            }
        }
    }

    /// Something happened that people should know. The text names no files.
    pub fn event(&self, step: u64, text: &str) {
        let text = text.chars().take(MAX_EVENT_CHARACTERS).collect();
        let mut state = self.state();
        if state.events.len() == MAX_EVENTS {
            state.events.pop_front();
        }
        let seconds = state.begun.elapsed().as_secs_f64();
        state.events.push_back(Event { step, seconds, text });
    }

    /// The run does something else from now on.
    pub fn enter(&self, phase: Phase) {
        self.state().phase = phase;
    }

    /// The run is over; `how` says so to people.
    pub fn ended(&self, how: &str) {
        self.state().ended = Some(how.to_owned());
    }

    /// The weights as they are after `step` steps: the first layer's are kept, if they are kernels on colours.
    pub fn weights(&self, step: u64, parameters: &Parameters) {
        let layer = &parameters.layout.layers()[0];
        if let [_, 3, _, _] = layer.weight_shape[..] {
            let (weights, shape) = (parameters.values[layer.weight.clone()].to_vec(), layer.weight_shape.clone());
            self.state().kernels = Some(Arc::new(Kernels { step, weights, shape }));
        }
    }

    /// Draws the pictures that are new, and asks for others; called while somebody looks.
    pub(crate) fn refresh(&self) {
        let kernels = self.state().kernels.clone();
        self.pictures().refresh(kernels.as_deref(), &self.batch);
    }

    /// The picture at a path of the server, if it is there in the version asked for.
    pub(crate) fn picture(&self, path: &str, version: Option<&str>) -> Option<Bytes> {
        let pictures = self.pictures();
        let picture = if path == "/batch.png" { &pictures.batch } else { &pictures.kernels };
        let picture = picture.as_ref()?;
        version.is_none_or(|version| version == page::version(self.id, picture)).then(|| picture.png.clone())
    }

    fn pictures(&self) -> MutexGuard<'_, Pictures> {
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The row of an epoch, which is the newest or of the newest.
    fn epoch_row(&mut self, epoch: u32) -> &mut Epoch {
        if self.epochs.back().is_none_or(|last| last.epoch != epoch) {
            if self.epochs.len() == MAX_EPOCHS {
                self.epochs.pop_front();
            }
            self.epochs.push_back(Epoch { epoch, train: None, validation: None });
        }
        self.epochs.back_mut().expect("the row that was found or added")
    }
}

#[cfg(test)]
mod tests;
