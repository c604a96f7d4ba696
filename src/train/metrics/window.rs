//! The last seconds of training, over which rates and the bottleneck are told.

use std::collections::VecDeque;

use super::StepObservation;

/// The time that the window covers, made of the times of steps alone. A longer step is a window by itself.
pub const WINDOW_SECONDS: f64 = 10.0;
/// Steps are kept together until they last so long, which bounds how many parts there are.
const PART_SECONDS: f64 = 0.1;
/// Parts of a full window, the one that begins and the one that leaves included.
const MAX_PARTS: usize = 104;

/// Sums over some steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub num_images: u64,
    pub step_seconds: f64,
    pub input_wait_seconds: f64,
    pub upload_seconds: f64,
    pub compute_seconds: f64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.num_images += other.num_images;
        self.step_seconds += other.step_seconds;
        self.input_wait_seconds += other.input_wait_seconds;
        self.upload_seconds += other.upload_seconds;
        self.compute_seconds += other.compute_seconds;
    }

    /// While the device did not compute.
    pub fn idle_seconds(&self) -> f64 {
        self.step_seconds - self.compute_seconds
    }

    pub fn images_per_second(&self) -> f64 {
        if self.step_seconds > 0.0 { self.num_images as f64 / self.step_seconds } else { 0.0 }
    }
}

impl From<&StepObservation> for Totals {
    fn from(step: &StepObservation) -> Self {
        Self {
            num_images: step.num_images,
            step_seconds: step.step_seconds,
            input_wait_seconds: step.input_wait_seconds,
            upload_seconds: step.upload_seconds,
            compute_seconds: step.compute_seconds,
        }
    }
}

/// The steps of the last [`WINDOW_SECONDS`], the oldest first.
#[derive(Debug)]
pub struct Window {
    parts: VecDeque<Totals>,
}

impl Default for Window {
    fn default() -> Self {
        Self { parts: VecDeque::with_capacity(MAX_PARTS) }
    }
}

impl Window {
    /// Adds a step, and drops the oldest parts that the window does not need. Gives the window's sums.
    pub fn add(&mut self, step: &StepObservation) -> Totals {
        let step = Totals::from(step);
        match self.parts.back_mut() {
            Some(part) if part.step_seconds < PART_SECONDS => part.add(&step),
            _ => self.parts.push_back(step),
        }
        let mut totals = self.totals();
        while let Some(oldest) = self.parts.front()
            && self.parts.len() > 1
            && totals.step_seconds - oldest.step_seconds >= WINDOW_SECONDS
        {
            self.parts.pop_front();
            totals = self.totals();
        }
        totals
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.parts.iter().for_each(|part| totals.add(part));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(num_images: u64, step_seconds: f64) -> StepObservation {
        StepObservation { num_images, step_seconds, ..StepObservation::default() }
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds_and_memory_is_bounded() {
        let mut window = Window::default();
        for _ in 0..20_000 {
            window.add(&step(1, 0.002));
        }
        for _ in 0..10_000 {
            window.add(&step(8, 0.002));
        }
        let totals = window.add(&step(8, 0.002));
        // Nothing of the slower steps is left, and a part more than ten seconds at most.
        assert!((totals.images_per_second() - 4000.0).abs() < 1e-6, "{totals:?}");
        assert!((10.0..10.2).contains(&totals.step_seconds), "{totals:?}");
        assert!(window.parts.len() < MAX_PARTS && window.parts.capacity() < 2 * MAX_PARTS);
    }

    #[test]
    fn a_step_longer_than_the_window_is_one() {
        let mut window = Window::default();
        window.add(&step(10, 1.0));
        assert_eq!(window.add(&step(60, 60.0)).images_per_second(), 1.0);
    }
}
