//! A series of means by step in bounded memory: when it is full, it halves its resolution.

/// Buckets of a full series: more than a chart has pixels to tell apart.
pub(crate) const MAX_BUCKETS: usize = 600;
/// Buckets that a running mean covers.
const RUNNING_BUCKETS: usize = 20;

/// The mean over the steps seen, as they came: neighbours share a bucket once there are too many.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// By rising step.
    buckets: Vec<Bucket>,
    /// A bucket holds the steps from a multiple of this to the next.
    stride: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// The last step that it holds.
    step: u64,
    sum: f64,
    num_steps: u64,
}

impl Bucket {
    fn add(&mut self, other: &Self) {
        self.step = other.step;
        self.sum += other.sum;
        self.num_steps += other.num_steps;
    }
}

impl Default for Series {
    fn default() -> Self {
        Self { buckets: Vec::with_capacity(MAX_BUCKETS), stride: 1 }
    }
}

impl Series {
    /// Adds the mean of `num_steps` steps, of which `step` is the last and later than all before. What is not finite
    /// has no place in a mean and is left out.
    pub fn add(&mut self, step: u64, mean: f64, num_steps: u64) {
        if !mean.is_finite() || num_steps == 0 {
            return;
        }
        while !self.take(Bucket { step, sum: mean * num_steps as f64, num_steps }) {
            self.halve();
        }
    }

    /// Whether there was room.
    fn take(&mut self, bucket: Bucket) -> bool {
        let (stride, is_full) = (self.stride, self.buckets.len() == MAX_BUCKETS);
        match self.buckets.last_mut() {
            Some(last) if last.step / stride == bucket.step / stride => last.add(&bucket),
            _ if is_full => return false,
            _ => self.buckets.push(bucket),
        }
        true
    }

    fn halve(&mut self) {
        self.stride *= 2;
        let stride = self.stride;
        self.buckets.dedup_by(|later, kept| {
            let together = later.step / stride == kept.step / stride;
            if together {
                kept.add(later);
            }
            together
        });
    }

    /// (step, mean), where the step is a bucket's last.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.buckets.iter().map(|bucket| (bucket.step as f64, bucket.sum / bucket.num_steps as f64)).collect()
    }

    /// As [`Series::points`], but each mean is over the steps of the last [`RUNNING_BUCKETS`] buckets.
    pub fn running_means(&self) -> Vec<(f64, f64)> {
        let mean = |last: usize| {
            let window = &self.buckets[(last + 1).saturating_sub(RUNNING_BUCKETS)..=last];
            let num_steps: u64 = window.iter().map(|bucket| bucket.num_steps).sum();
            (
                window[window.len() - 1].step as f64,
                window.iter().map(|bucket| bucket.sum).sum::<f64>() / num_steps as f64,
            )
        };
        (0..self.buckets.len()).map(mean).collect()
    }

    /// The newest running mean.
    pub fn last_running_mean(&self) -> Option<f64> {
        self.running_means().last().map(|point| point.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some value of a step, without a trend.
    fn value(step: u64) -> f64 {
        (step * 7919 % 1009) as f64
    }

    fn mean(steps: impl Iterator<Item = u64> + Clone) -> f64 {
        steps.clone().map(value).sum::<f64>() / steps.count() as f64
    }

    #[test]
    fn a_full_series_keeps_its_room_and_every_mean_is_that_of_its_steps() {
        let mut series = Series::default();
        let room = series.buckets.capacity();
        for step in 1..=100_000 {
            series.add(step, value(step), 1);
            assert!(series.buckets.len() <= MAX_BUCKETS);
        }
        assert_eq!(series.buckets.capacity(), room);
        let points = series.points();
        assert!(points.len() > MAX_BUCKETS / 2, "{} points", points.len());
        let mut first = 1;
        for (last, found) in points {
            // Sums of whole numbers are exact.
            assert_eq!(found, mean(first..=last as u64), "steps {first} to {last}");
            first = last as u64 + 1;
        }
        assert_eq!(first, 100_001);
    }

    #[test]
    fn a_running_mean_is_over_the_steps_of_its_buckets() {
        let mut series = Series::default();
        (1..=1000).for_each(|step| series.add(step, value(step), 1));
        let (points, running) = (series.points(), series.running_means());
        assert_eq!(points.len(), running.len());
        for last in [0_usize, 5, 19, 20, 400] {
            let first = last.checked_sub(RUNNING_BUCKETS).map_or(1, |before| points[before].0 as u64 + 1);
            assert_eq!(running[last], (points[last].0, mean(first..=points[last].0 as u64)), "bucket {last}");
        }
        assert_eq!(series.last_running_mean(), running.last().map(|point| point.1));
    }

    #[test]
    fn means_of_several_steps_count_as_so_many() {
        let mut series = Series::default();
        // A log of ten steps a line, then every step: far more than fit, so buckets hold some of each.
        (1..=600).for_each(|line| series.add(10 * line, 2.0, 10));
        (6001..=7000).for_each(|step| series.add(step, 5.0, 1));
        let num_steps: u64 = series.buckets.iter().map(|bucket| bucket.num_steps).sum();
        let sum: f64 = series.buckets.iter().map(|bucket| bucket.sum).sum();
        assert_eq!((num_steps, sum), (7000, 6000.0 * 2.0 + 1000.0 * 5.0));
        assert!(series.buckets.is_sorted_by_key(|bucket| bucket.step));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut series = Series::default();
        [1.0, f64::NAN, f64::INFINITY, 3.0].iter().zip(1..).for_each(|(&value, step)| series.add(step, value, 1));
        assert_eq!(series.points(), [(1.0, 1.0), (4.0, 3.0)]);
    }
}
