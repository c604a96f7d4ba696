//! What a recipe makes of a dataset: the network, its weights, and how it sees samples. Training, evaluation,
//! prediction and the bench all begin with one.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{self, Checkpoint, RunState};
use crate::backend::{BackendOptions, Slot};
use crate::error::Result;
use crate::input::{Augmentation, Batch, BatchSource, Dtype, Pipeline, PipelineOptions, Plan, TrainPlan};
use crate::model::init::initial_parameters;
use crate::model::{Network, Parameters};
use crate::recipe::Recipe;
use crate::recipe::settings::Settings;
use crate::shard::{Dataset, SAMPLE_BYTES, Split};
use crate::synthetic::batches::{SyntheticOptions, SyntheticSource};
use crate::trace::Tracer;

/// Training images of the synthetic dataset: as many as ImageNet has.
const SYNTHETIC_IMAGES: usize = 1_281_167;
/// Classes of the synthetic dataset.
const SYNTHETIC_CLASSES: usize = 1000;

/// A network with its weights, its data and where its training stands.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The packed dataset; none when batches are synthetic, or the checkpoint says all that is needed.
    pub dataset: Option<Arc<Dataset>>,
    /// Where training stands, and by which recipe.
    pub state: RunState,
    /// The layers and their sizes.
    pub network: Network,
    /// Weights, biases and their velocities.
    pub parameters: Parameters,
    /// The mean image that travels in the checkpoints, (3, 256, 256).
    pub mean: Vec<u8>,
    /// How the network sees samples.
    pub augmentation: Augmentation,
}

impl Experiment {
    /// A recipe's first state on a dataset, or on synthetic batches of 1000 classes.
    pub fn new(recipe: Recipe, dataset: Option<Arc<Dataset>>) -> Result<Self> {
        let state = first_state(recipe, dataset.as_deref());
        let network = state.network()?;
        let parameters = initial_parameters(&network, state.recipe.settings.train.seed);
        let mean = dataset.as_ref().map_or_else(|| vec![0; SAMPLE_BYTES], |dataset| dataset.mean().to_vec());
        let augmentation = Augmentation::new(&state.recipe.settings.augment, &state.statistics);
        Ok(Self { dataset, state, network, parameters, mean, augmentation })
    }

    /// What a checkpoint holds, without a dataset.
    pub fn read(checkpoint: &Path) -> Result<Self> {
        let Checkpoint { state, parameters, mean } = checkpoint::read::read(checkpoint)?;
        let network = state.network()?;
        let augmentation = Augmentation::new(&state.recipe.settings.augment, &state.statistics);
        Ok(Self { dataset: None, state, network, parameters, mean, augmentation })
    }

    /// Every hyperparameter, as the recipe has it.
    pub fn settings(&self) -> &Settings {
        &self.state.recipe.settings
    }

    /// What a backend that trains it is built with.
    pub fn backend_options(&self) -> BackendOptions {
        BackendOptions::of(&self.settings().train)
    }

    /// Samples of the training split.
    pub fn num_train(&self) -> usize {
        self.dataset.as_ref().map_or(SYNTHETIC_IMAGES, |dataset| dataset.split(Split::Train).num_samples())
    }

    /// Samples of the validation split.
    pub fn num_val(&self) -> usize {
        self.dataset.as_ref().map_or(0, |dataset| dataset.split(Split::Val).num_samples())
    }

    /// The order of training.
    pub fn plan(&self) -> Result<TrainPlan> {
        let train = &self.settings().train;
        TrainPlan::new(train.seed, self.num_train(), train.batch_size, train.order)
    }

    /// The batches that it trains on.
    pub fn source(&self, options: PipelineOptions, tracer: Tracer) -> Result<Box<dyn BatchSource>> {
        let plan = self.plan()?;
        let Some(dataset) = self.dataset.clone() else {
            let PipelineOptions { dtype, buffers, steps, .. } = options;
            return Ok(Box::new(self.synthetic(dtype, buffers, plan.steps_per_epoch(), steps)));
        };
        let augmentation = self.augmentation.clone();
        let pipeline = Pipeline::start(dataset, Split::Train, Plan::Train(plan), augmentation, options, tracer)?;
        Ok(Box::new(pipeline))
    }

    /// A synthetic batch for each slot, whatever the dataset is.
    pub fn synthetic_batches(&self, dtype: Dtype) -> Result<Vec<Batch>> {
        let num_slots = Slot::ALL.len();
        let mut source = self.synthetic(dtype, num_slots, 1, 0..num_slots as u64);
        std::iter::from_fn(|| source.recv().transpose()).collect()
    }

    fn synthetic(
        &self,
        dtype: Dtype,
        buffers: usize,
        steps_per_epoch: u64,
        steps: std::ops::Range<u64>,
    ) -> SyntheticSource {
        let train = &self.settings().train;
        SyntheticSource::new(&SyntheticOptions {
            seed: train.seed,
            dtype,
            batch_size: train.batch_size,
            frame: self.augmentation.frame(),
            num_classes: self.network.num_classes,
            buffers,
            steps_per_epoch,
            steps,
        })
    }
}

fn first_state(recipe: Recipe, dataset: Option<&Dataset>) -> RunState {
    let Some(info) = dataset.map(Dataset::info) else {
        let classes = (0..SYNTHETIC_CLASSES).map(|label| label.to_string()).collect();
        return RunState { dataset: "synthetic".into(), ..RunState::untrained(recipe, classes) };
    };
    RunState {
        dataset: info.id.clone(),
        statistics: info.statistics.clone(),
        ..RunState::untrained(recipe, info.class_names())
    }
}
