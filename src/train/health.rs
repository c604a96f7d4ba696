//! What a run's loss says when it goes wrong: not finite, or stuck at guessing.

use crate::backend::Statistics;
use crate::error::{Error, Result};

/// Steps over which a loss must stay at guessing before the run says so.
pub const STUCK_STEPS: u64 = 500;
/// As near to ln(classes) as this share of it is guessing.
const GUESSING: f64 = 0.01;

#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    num_classes: usize,
    num_steps: u64,
    loss_sum: f64,
    told: bool,
}

impl Health {
    /// For a network of `num_classes` outputs.
    pub fn new(num_classes: usize) -> Self {
        Self { num_classes, num_steps: 0, loss_sum: 0.0, told: false }
    }

    /// Takes in the step that ended as the run's `step`th: an error when its loss is not finite, a warning (once) when
    /// the loss has not left ln(classes).
    pub fn step(&mut self, step: u64, statistics: &Statistics) -> Result<Option<String>> {
        let loss = statistics.loss_sum / statistics.num_samples as f64;
        if !loss.is_finite() {
            return Err(not_finite(step, &format!("the loss is {loss}")));
        }
        self.num_steps += 1;
        self.loss_sum += loss;
        if self.num_steps < STUCK_STEPS {
            return Ok(None);
        }
        let (mean, guessing) = (self.loss_sum / self.num_steps as f64, (self.num_classes as f64).ln());
        (self.num_steps, self.loss_sum) = (0, 0.0);
        if self.told || (mean - guessing).abs() > GUESSING * guessing {
            return Ok(None);
        }
        self.told = true;
        Ok(Some(format!(
            "the loss has stayed at {mean:.3} for {STUCK_STEPS} steps, and ln({}) = {guessing:.3} is the loss of \
             guessing. The paper's initial values leave it only after thousands of steps, and on small sets or \
             narrow networks perhaps never. To learn sooner: --recipe small, or \
             --set model.init=he --set augment.scale=0.017",
            self.num_classes
        )))
    }
}

/// The error of a run whose numbers have left the finite ones.
pub fn not_finite(step: u64, what: &str) -> Error {
    Error::Training(format!(
        "step {step}: {what}; the run stops here and its last good checkpoint stays. Try a lower rate \
         (--set train.learning_rate=0.001), smaller initial values (--set model.init=paper) or scaled inputs \
         (--set augment.scale=0.017), from the start or with --init CHECKPOINT"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(loss: f64) -> Statistics {
        Statistics { loss_sum: loss * 4.0, num_top1: 0, num_top5: 0, num_samples: 4 }
    }

    #[test]
    fn guessing_is_told_once() {
        let mut health = Health::new(10);
        let told: Vec<u64> = (1..=3 * STUCK_STEPS)
            .filter(|&step| health.step(step, &statistics(10_f64.ln() + 0.01)).unwrap().is_some())
            .collect();
        assert_eq!(told, [STUCK_STEPS]);
    }

    #[test]
    fn a_falling_loss_is_not_called_guessing() {
        let mut health = Health::new(10);
        assert!((1..=STUCK_STEPS).all(|step| health.step(step, &statistics(2.2)).unwrap().is_none()));
    }

    #[test]
    fn a_loss_that_is_not_finite_says_what_to_try() {
        let error = Health::new(10).step(7, &statistics(f64::NAN)).unwrap_err().to_string();
        assert!(error.contains("step 7") && error.contains("train.learning_rate"), "{error}");
    }
}
