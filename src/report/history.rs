//! What a log says over time: curves, and where the time went.

use super::run::Run;
use crate::train::log::{Kind, Line};

/// A chart is a few hundred pixels wide: more points cannot be told apart.
const MAX_POINTS: usize = 400;

/// (step, value) of a kind of lines, as many as a chart can show: of more, means of neighbours.
pub(super) fn by_step(run: &Run, kind: Kind, value: impl Fn(&Line) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = run.lines_of(kind).filter_map(|line| Some((line.step as f64, value(line)?)));
    thinned(&points.collect::<Vec<_>>())
}

/// (epochs that were done, value) of a kind of lines.
pub(super) fn by_epoch(run: &Run, kind: Kind, value: impl Fn(&Line) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = run.lines_of(kind).filter_map(|line| Some((f64::from(line.epoch) + 1.0, value(line)?)));
    thinned(&points.collect::<Vec<_>>())
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |points: &[(f64, f64)]| {
        let num = points.len() as f64;
        (points.iter().map(|point| point.0).sum::<f64>() / num, points.iter().map(|point| point.1).sum::<f64>() / num)
    };
    points.chunks(points.len().div_ceil(MAX_POINTS).max(1)).map(mean).collect()
}

/// Where the time of all processes of a run went, in seconds, as far as its log tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Times {
    /// From the beginning of each process to its first step, the checkpoint before it included.
    pub start_seconds: f64,
    /// The steps without their waits for input.
    pub step_seconds: f64,
    pub input_wait_seconds: f64,
    pub validation_seconds: f64,
    /// Checkpoints, and steps after the last line.
    pub other_seconds: f64,
    /// Processes that trained one after the other.
    pub num_processes: usize,
}

impl Times {
    pub fn of(run: &Run) -> Self {
        let mut times = Self::default();
        let begins = |line: &Line| line.kind == Kind::Event && line.event.as_deref().is_some_and(is_beginning);
        let starts: Vec<usize> = (0..run.lines.len()).filter(|&at| begins(&run.lines[at])).collect();
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(run.lines.len());
            times.add_process(&run.lines[start..end]);
        }
        times
    }

    pub fn total_seconds(&self) -> f64 {
        let Self { start_seconds, step_seconds, input_wait_seconds, validation_seconds, other_seconds, .. } = self;
        start_seconds + step_seconds + input_wait_seconds + validation_seconds + other_seconds
    }

    /// Takes in the lines of one process, which begin with the event of its beginning.
    fn add_process(&mut self, lines: &[Line]) {
        let seconds_of = |kind| {
            let of_kind = lines.iter().filter(move |line| line.kind == kind);
            of_kind.filter_map(|line| line.seconds).sum::<f64>()
        };
        let wait: f64 =
            lines.iter().filter(|line| line.kind == Kind::Step).filter_map(|line| line.input_wait_seconds).sum();
        let (begun, ended) = (lines[0].time, lines[lines.len() - 1].time);
        let first = lines.iter().find(|line| line.kind == Kind::Step);
        let start = first.and_then(|line| Some((line.time - line.seconds? - begun).max(0.0))).unwrap_or(0.0);
        let (steps, validations) = (seconds_of(Kind::Step), seconds_of(Kind::Validation));
        self.start_seconds += start;
        self.input_wait_seconds += wait;
        self.step_seconds += (steps - wait).max(0.0);
        self.validation_seconds += validations;
        self.other_seconds += (ended - begun - start - steps - validations).max(0.0);
        self.num_processes += 1;
    }
}

/// Whether an event is the first of a process.
fn is_beginning(event: &str) -> bool {
    event.starts_with("began ") || event.starts_with("resumed ")
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{run_of, validation};
    use super::*;

    fn step(step: u64, time: f64, seconds: f64) -> Line {
        let loss = Some(step as f64);
        let (seconds, input_wait_seconds) = (Some(seconds), Some(seconds / 4.0));
        Line { loss, seconds, input_wait_seconds, time, ..Line::new(Kind::Step, step, 0) }
    }

    fn event(event: &str, time: f64) -> Line {
        Line { event: Some(event.into()), time, ..Line::new(Kind::Event, 0, 0) }
    }

    #[test]
    fn the_times_of_each_process_add_up_to_what_its_clock_showed() {
        let checked = Line { seconds: Some(5.0), time: 127.0, ..validation(20, 0, 0.5) };
        let lines = vec![
            event("began on cpu", 100.0),
            step(10, 112.0, 10.0),
            step(20, 120.0, 8.0),
            checked,
            event("resumed from x", 500.0),
            event("the loss is high", 501.0),
            step(30, 504.0, 3.0),
        ];
        let times = Times::of(&run_of("run", &[], lines));
        let expected = Times {
            start_seconds: 2.0 + 1.0,
            step_seconds: 15.75,
            input_wait_seconds: 5.25,
            validation_seconds: 5.0,
            other_seconds: 2.0,
            num_processes: 2,
        };
        assert_eq!(times, expected);
        assert_eq!(times.total_seconds(), 27.0 + 4.0);
    }

    #[test]
    fn a_long_log_becomes_means_of_neighbours() {
        let lines = (1..=1000).map(|number| step(number, 0.0, 1.0)).collect();
        let points = by_step(&run_of("run", &[], lines), Kind::Step, |line| line.loss);
        assert_eq!((points.len(), points[0], points[333]), (334, (2.0, 2.0), (1000.0, 1000.0)));
    }
}
