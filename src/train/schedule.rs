//! The learning rate (the paper's section 5): divided when the validation error stops improving, or at given epochs.

use serde::{Deserialize, Serialize};

use crate::recipe::settings::{ScheduleKind, TrainSettings};

/// What the schedule remembers; it travels in the checkpoint, so a resumed run continues as if it had never stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Epochs whose validation error is known.
    pub num_validated: u32,
    /// The lowest top-1 error so far.
    pub best_top1_error: Option<f64>,
    /// The step of that error's checkpoint.
    pub best_step: u64,
    /// Validations since the error last fell by `train.min_improvement`.
    pub num_without_improvement: u32,
    /// Times the plateau has divided the learning rate.
    pub num_drops: u32,
}

/// What a validation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// The learning rate was divided.
    Dropped,
}

impl Schedule {
    /// The learning rate of an epoch.
    pub fn learning_rate(&self, settings: &TrainSettings, epoch: u32) -> f64 {
        let drops = match settings.schedule {
            ScheduleKind::Plateau => self.num_drops,
            ScheduleKind::Steps => settings.drop_epochs.iter().filter(|&&drop| drop <= epoch).count() as u32,
        };
        settings.learning_rate / settings.drop_factor.powi(drops as i32)
    }

    /// Takes in the top-1 error after an epoch that ended with `step`.
    pub fn validated(&mut self, settings: &TrainSettings, step: u64, top1_error: f64) -> Change {
        self.num_validated += 1;
        let best = self.best_top1_error.unwrap_or(f64::INFINITY);
        let improved = top1_error < best - settings.min_improvement;
        if top1_error < best {
            (self.best_top1_error, self.best_step) = (Some(top1_error), step);
        }
        if improved {
            self.num_without_improvement = 0;
            return Change::None;
        }
        self.num_without_improvement += 1;
        let due = settings.schedule == ScheduleKind::Plateau
            && self.num_without_improvement >= settings.patience
            && self.num_drops < settings.max_drops;
        if !due {
            return Change::None;
        }
        self.num_drops += 1;
        self.num_without_improvement = 0;
        Change::Dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(schedule: ScheduleKind) -> TrainSettings {
        TrainSettings { schedule, patience: 2, max_drops: 2, drop_epochs: vec![3, 5], ..TrainSettings::default() }
    }

    #[test]
    fn plateau_divides_after_patience_and_at_most_max_drops_times() {
        let settings = settings(ScheduleKind::Plateau);
        let mut schedule = Schedule::default();
        let errors = [0.9, 0.8, 0.8, 0.7995, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6];
        let rates: Vec<f64> = (0..)
            .zip(errors)
            .map(|(epoch, error)| {
                schedule.validated(&settings, u64::from(epoch), error);
                schedule.learning_rate(&settings, epoch)
            })
            .collect();
        // 0.7995 is no improvement by 0.001: dropped there; then 0.5 twice and 0.6: dropped again, and never more.
        let expected = [1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!((schedule.best_top1_error, schedule.best_step), (Some(0.5), 4));
    }

    #[test]
    fn steps_divide_before_the_given_epochs() {
        let settings = settings(ScheduleKind::Steps);
        let schedule = Schedule::default();
        let rates: Vec<f64> = (0..7).map(|epoch| schedule.learning_rate(&settings, epoch)).collect();
        for (rate, expected) in rates.iter().zip([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
    }
}
