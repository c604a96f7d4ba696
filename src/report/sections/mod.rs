//! The sections of a report on one run, in the order in which they stand.

pub(super) mod classes;
pub(super) mod confusion;
pub(super) mod curves;
pub(super) mod header;
pub(super) mod kernels;
pub(super) mod mistakes;
pub(super) mod nearest;
pub(super) mod panels;
pub(super) mod settings;
pub(super) mod times;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::evaluation::{Evaluation, Prediction};
use crate::shard::Dataset;

/// What the network of a checkpoint says of the validation images, and the images.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub checkpoint: PathBuf,
    pub dataset: Arc<Dataset>,
    /// By label.
    pub classes: Vec<String>,
    /// The side of the crop that the network is given.
    pub crop: usize,
    pub evaluation: Evaluation,
}

/// `num` images as examples, by their places: of as many classes as can be, evenly spread over all, and of each class
/// the first images, whatever the network says of them.
fn examples(predictions: &[Prediction], num: usize) -> Vec<usize> {
    let mut by_label: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, prediction) in predictions.iter().enumerate() {
        by_label.entry(prediction.label).or_default().push(index);
    }
    let classes: Vec<_> = by_label.into_values().collect();
    if classes.len() >= num {
        return (0..num).map(|place| classes[place * classes.len() / num][0]).collect();
    }
    let most = classes.iter().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..most).flat_map(|round| classes.iter().filter_map(move |images| images.get(round)));
    rounds.copied().take(num).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_many_classes() {
        let of = |labels: &[usize]| {
            let prediction = |&label: &usize| Prediction { label, rank: 0, likely: Vec::new() };
            labels.iter().map(prediction).collect::<Vec<_>>()
        };
        assert_eq!(examples(&of(&[1, 1, 0, 5, 1]), 4), [2, 0, 3, 1]);
        assert_eq!(examples(&of(&[3, 2, 1, 0, 7, 5]), 3), [3, 1, 5]);
        assert_eq!(examples(&of(&[0]), 3), [0]);
    }
}
