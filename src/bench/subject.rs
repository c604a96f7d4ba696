//! What is measured: a dataset, and the network that a recipe makes of it.

use std::sync::Arc;

use super::options::Options;
use crate::backend::{BackendOptions, Slot};
use crate::error::Result;
use crate::input::synthetic::{SyntheticOptions, SyntheticSource};
use crate::input::{Augmentation, Batch, BatchSource, Dtype, Pipeline, PipelineOptions, Plan, TrainPlan};
use crate::model::init::initial_parameters;
use crate::model::{Network, Parameters};
use crate::recipe::Recipe;
use crate::shard::{Dataset, Split};

/// The two inputs of a backend.
pub(crate) const SLOTS: [Slot; 2] = [Slot::Even, Slot::Odd];

/// Everything that does not change from round to round.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) recipe: Recipe,
    pub(crate) network: Network,
    pub(crate) parameters: Parameters,
    pub(crate) plan: TrainPlan,
    pub(crate) augmentation: Augmentation,
}

impl Subject {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let dataset = Arc::new(Dataset::open(&options.shards)?);
        let recipe = Recipe::load(options.recipe.as_deref().unwrap_or("alexnet"), &options.sets)?;
        let settings = &recipe.settings;
        let network = Network::new(&settings.model, settings.augment.canvas, dataset.info().classes.len())?;
        let parameters = initial_parameters(&network, settings.train.seed);
        let num_train = dataset.split(Split::Train).num_samples();
        let plan = TrainPlan::new(settings.train.seed, num_train, settings.train.batch_size, settings.train.order)?;
        let augmentation = Augmentation::new(&settings.augment, &dataset.info().statistics)?;
        Ok(Self { dataset, recipe, network, parameters, plan, augmentation })
    }

    pub(crate) fn batch_size(&self) -> usize {
        self.recipe.settings.train.batch_size
    }

    pub(crate) fn backend_options(&self) -> BackendOptions {
        let train = &self.recipe.settings.train;
        BackendOptions {
            batch_size: train.batch_size,
            seed: train.seed,
            momentum: train.momentum as f32,
            weight_decay: train.weight_decay as f32,
        }
    }

    /// The input that training has.
    pub(crate) fn pipeline(&self, options: PipelineOptions) -> Result<Pipeline> {
        let (dataset, plan) = (Arc::clone(&self.dataset), Plan::Train(self.plan.clone()));
        Pipeline::start(dataset, Split::Train, plan, self.augmentation.clone(), options)
    }

    /// A batch for each slot.
    pub(crate) fn made_up_batches(&self, dtype: Dtype) -> Result<Vec<Batch>> {
        let mut source = SyntheticSource::new(&SyntheticOptions {
            seed: self.recipe.settings.train.seed,
            dtype,
            batch_size: self.batch_size(),
            frame: self.augmentation.frame(),
            num_classes: self.network.num_classes,
            buffers: SLOTS.len(),
            steps_per_epoch: 1,
            steps: 0..SLOTS.len() as u64,
        })?;
        std::iter::from_fn(|| source.recv().transpose()).collect()
    }
}
