//! One pass over the validation split: what the network says of each image, and how it sees it.

use std::sync::Arc;

use crate::backend::{BackendOptions, Chosen, Statistics, rank};
use crate::error::{Error, Result};
use crate::input::NumViews;
use crate::shard::{Dataset, Split};
use crate::train::experiment::Experiment;
use crate::train::stop::Stop;
use crate::train::validation::{ErrorRates, Validation};

/// The likeliest so many classes of each image are kept.
pub(super) const NUM_LIKELY: usize = 5;
/// Images whose activations are kept, the first of the split: with fc7's 4096 values 33 MB.
const MAX_FEATURES: usize = 2000;

/// What a pass found. An image's place in the lists is its place in the split.
#[derive(Clone, Debug)]
pub(super) struct Evaluation {
    pub rates: ErrorRates,
    pub predictions: Vec<Prediction>,
    pub features: Features,
}

/// What the network says of an image, by its centre view.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prediction {
    /// The image's class.
    pub label: usize,
    /// Classes that are likelier than that.
    pub rank: usize,
    /// The likeliest classes, falling.
    pub likely: Vec<Likely>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likely {
    pub class: usize,
    /// The softmax output, 0 to 1.
    pub probability: f32,
}

/// Activations of the last hidden layer (fc7) of the first images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Features {
    /// The layer's name.
    pub layer: String,
    /// Values of an image.
    pub width: usize,
    /// (images, width).
    pub values: Vec<f32>,
}

impl Prediction {
    fn new(label: usize, logits: &[f32], probabilities: &[f32]) -> Self {
        let mut classes: Vec<usize> = (0..logits.len()).collect();
        let by_rank = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
        let num_likely = NUM_LIKELY.min(classes.len());
        classes.select_nth_unstable_by(num_likely - 1, by_rank);
        classes.truncate(num_likely);
        classes.sort_unstable_by(by_rank);
        let likely = classes.into_iter().map(|class| Likely { class, probability: probabilities[class] });
        Self { label, rank: rank(logits, label), likely: likely.collect() }
    }

    pub fn is_right(&self) -> bool {
        self.rank == 0
    }
}

impl Features {
    /// The rows, one an image.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// How an evaluation is computed.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub chosen: &'a Chosen,
    /// Only the first so many images.
    pub limit: Option<usize>,
    pub batch_size: usize,
    pub workers: usize,
}

impl Pass<'_> {
    /// Evaluates the experiment's network on the dataset's validation split.
    pub fn run(&self, experiment: &Experiment, dataset: &Arc<Dataset>, stop: &Stop) -> Result<Evaluation> {
        let Experiment { network, parameters, augmentation, .. } = experiment;
        let validation = Validation {
            dataset,
            augmentation,
            views: NumViews::One,
            limit: self.limit,
            batch_size: self.batch_size,
            workers: self.workers,
        };
        let mut backend = self.chosen.open(network, BackendOptions::for_evaluation(self.batch_size))?;
        backend.load(parameters)?;
        let logits_layer = network.layers.len() - 1;
        let features_layer = logits_layer.checked_sub(1);
        let (split, num_classes) = (dataset.split(Split::Val), network.num_classes);
        let mut statistics = Statistics::default();
        let mut predictions: Vec<Prediction> = Vec::new();
        let mut features = Features::default();
        if let Some(layer) = features_layer.map(|layer| &network.layers[layer]) {
            (features.layer, features.width) = (layer.name.clone(), layer.block.output_values());
        }
        let passed = validation.pass(backend.as_mut(), stop, |backend, slot, fed| {
            statistics.add(&backend.statistics(slot)?);
            let num_wanted = MAX_FEATURES.saturating_sub(predictions.len()).min(fed.num_valid);
            if let Some(layer) = features_layer.filter(|_| num_wanted > 0) {
                features.values.extend_from_slice(&backend.output(layer)?[..num_wanted * features.width]);
            }
            // Ranks are those of the logits: two small probabilities may be equal in f32.
            let logits = backend.output(logits_layer)?;
            let rows = logits.chunks_exact(num_classes).zip(backend.probabilities(slot)?.chunks_exact(num_classes));
            for (logits, probabilities) in rows.take(fed.num_valid) {
                let label = split.sample(predictions.len()).label as usize;
                predictions.push(Prediction::new(label, logits, probabilities));
            }
            Ok(())
        })?;
        if passed.is_none() {
            return Err(Error::Training("stopped before every image was seen: no report".into()));
        }
        Ok(Evaluation { rates: ErrorRates::of(&statistics), predictions, features })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_of_equals_the_lower_class() {
        let logits = [0.0, 3.0, -1.0, 3.0, 2.0, 1.0, -2.0];
        let prediction = Prediction::new(4, &logits, &logits.map(|logit| logit / 10.0));
        let classes: Vec<_> = prediction.likely.iter().map(|likely| likely.class).collect();
        assert_eq!((classes, prediction.rank), (vec![1, 3, 4, 5, 0], 2));
        assert_eq!(prediction.likely[4].probability, 0.0);
        assert_eq!(Prediction::new(1, &[0.0, 1.0], &[0.3, 0.7]).likely.len(), 2);
    }
}
