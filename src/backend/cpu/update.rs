//! Stochastic gradient descent with momentum and weight decay (section 5 of the paper).

use rayon::prelude::*;

use super::wide::wide;
use crate::model::BiasRule;
use crate::recipe::settings::UpdateRule;

/// Weights that one task updates.
const CHUNK: usize = 64 * 1024;

/// The numbers of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    pub momentum: f32,
    pub weight_decay: f32,
    pub learning_rate: f32,
}

impl Update {
    /// A step's update of weights.
    pub fn new(rule: &UpdateRule, learning_rate: f32) -> Self {
        let &UpdateRule { momentum, weight_decay } = rule;
        Self { momentum, weight_decay, learning_rate }
    }

    /// The update of a layer's biases, where this is that of its weights.
    pub fn of_biases(self, biases: &BiasRule) -> Self {
        Self {
            weight_decay: biases.weight_decay(self.weight_decay),
            learning_rate: biases.rate * self.learning_rate,
            ..self
        }
    }

    /// v = momentum v - weight_decay lr w - lr g; w = w + v.
    pub fn update(self, values: &mut [f32], velocities: &mut [f32], gradients: &[f32]) {
        let chunks = values.par_chunks_mut(CHUNK).zip(velocities.par_chunks_mut(CHUNK));
        chunks.zip(gradients.par_chunks(CHUNK)).for_each(|((values, velocities), gradients)| {
            wide!(self.update_chunk(values, velocities, gradients));
        });
    }

    #[inline(always)]
    fn update_chunk(self, values: &mut [f32], velocities: &mut [f32], gradients: &[f32]) {
        let decay = self.weight_decay * self.learning_rate;
        for ((w, v), g) in values.iter_mut().zip(velocities).zip(gradients) {
            *v = self.momentum * *v - decay * *w - self.learning_rate * *g;
            *w += *v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::BiasDecay;

    #[test]
    fn biases_learn_as_the_weights_or_faster_and_without_decay() {
        let rule = Update { momentum: 0.9, weight_decay: 0.0005, learning_rate: 0.01 };
        assert_eq!(rule.of_biases(&BiasRule::AS_WEIGHTS), rule);
        let caffe = rule.of_biases(&BiasRule { rate: 2.0, decay: BiasDecay::Off });
        assert_eq!(caffe, Update { momentum: 0.9, weight_decay: 0.0, learning_rate: 0.02 });
    }

    #[test]
    fn two_updates_follow_the_papers_rule() {
        let rule = Update { momentum: 0.5, weight_decay: 0.25, learning_rate: 0.5 };
        let (mut values, mut velocities) = ([2.0], [4.0]);
        rule.update(&mut values, &mut velocities, &[1.0]);
        // v = 0.5 * 4 - 0.25 * 0.5 * 2 - 0.5 * 1 = 1.25.
        assert_eq!((values, velocities), ([3.25], [1.25]));
        rule.update(&mut values, &mut velocities, &[-1.0]);
        // v = 0.5 * 1.25 - 0.125 * 3.25 + 0.5 = 0.71875.
        assert_eq!((values, velocities), ([3.96875], [0.71875]));
    }
}
