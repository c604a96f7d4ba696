//! The learning rate: divided when the validation error stops improving (the paper's section 5) or at given epochs, or
//! a function of the step alone.

use std::f64::consts::PI;

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
    /// The learning rate of a step, counted from 0.
    pub fn learning_rate(&self, settings: &TrainSettings, step: u64, steps_per_epoch: u64) -> f64 {
        let num_steps = u64::from(settings.epochs) * steps_per_epoch;
        let rise = (settings.warmup_epochs * steps_per_epoch as f64).round() as u64;
        let divided = |num_drops: u32| settings.learning_rate / settings.drop_factor.powi(num_drops as i32);
        let rate = match settings.schedule {
            ScheduleKind::Plateau => divided(self.num_drops),
            ScheduleKind::Steps => {
                let epoch = step / steps_per_epoch;
                let past = settings.drop_epochs.iter().filter(|&&drop| u64::from(drop) <= epoch);
                divided(past.count() as u32)
            }
            ScheduleKind::Cosine => {
                let done = step.saturating_sub(rise) as f64 / num_steps.saturating_sub(rise).max(1) as f64;
                settings.learning_rate * half_cosine(1.0, 0.0, done)
            }
            ScheduleKind::OneCycle => settings.learning_rate * one_cycle(step, num_steps),
        };
        if step < rise { rate * (step + 1) as f64 / rise as f64 } else { rate }
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

/// From one value to another, of which a part is done, 0 to 1.
fn half_cosine(from: f64, to: f64, done: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * done.clamp(0.0, 1.0)).cos())
}

/// torch.optim.lr_scheduler.OneCycleLR with its defaults, in shares of the largest rate.
fn one_cycle(step: u64, num_steps: u64) -> f64 {
    const FIRST: f64 = 1.0 / 25.0;
    const LAST: f64 = FIRST / 1e4;
    let (step, num_steps) = (step as f64, num_steps as f64);
    let (top, end) = (0.3 * num_steps - 1.0, num_steps - 1.0);
    if step <= top { half_cosine(FIRST, 1.0, step / top) } else { half_cosine(1.0, LAST, (step - top) / (end - top)) }
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
        let rates: Vec<f64> = (0_u32..)
            .zip(errors)
            .map(|(epoch, error)| {
                schedule.validated(&settings, u64::from(epoch), error);
                schedule.learning_rate(&settings, u64::from(epoch) * 7, 7)
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
        let rates: Vec<f64> = (0..7).map(|epoch| schedule.learning_rate(&settings, epoch * 5 + 4, 5)).collect();
        for (rate, expected) in rates.iter().zip([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
    }

    fn rates(set: &[&str], steps_per_epoch: u64, num_steps: u64) -> Vec<f64> {
        let sets: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        let settings = crate::recipe::Recipe::load("alexnet", &sets).unwrap().settings.train;
        (0..num_steps).map(|step| Schedule::default().learning_rate(&settings, step, steps_per_epoch)).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (rate, expected) in found.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-7 * expected.max(1e-3), "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn a_cosine_falls_to_zero_over_all_steps() {
        // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=8) from 0.01.
        let expected = [
            0.01,
            0.009_619_397_663,
            0.008_535_533_906,
            0.006_913_417_162,
            0.005,
            0.003_086_582_838,
            0.001_464_466_094,
        ];
        assert_near(&rates(&["train.schedule=cosine", "train.epochs=2"], 4, 7), &expected);
    }

    #[test]
    fn a_warm_up_rises_by_equal_steps_and_the_cosine_begins_behind_it() {
        let sets = ["train.schedule=cosine", "train.epochs=3", "train.warmup_epochs=0.5"];
        let expected = [0.005, 0.01, 0.01, 0.009_755_282_581, 0.009_045_084_972];
        assert_near(&rates(&sets, 4, 5), &expected);
        let plateau = rates(&["train.warmup_epochs=1"], 4, 6);
        assert_near(&plateau, &[0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]);
    }

    #[test]
    fn one_cycle_is_that_of_pytorch() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=0.01, total_steps=10).
        let expected = [
            0.0004,
            0.0052,
            0.01,
            0.009_504_846_320,
            0.008_117_456_539,
            0.006_112_620_220,
            0.003_887_419_780,
            0.001_882_583_461,
            0.000_495_193_680,
            4e-8,
        ];
        assert_near(&rates(&["train.schedule=one-cycle", "train.epochs=2"], 5, 10), &expected);
    }
}
