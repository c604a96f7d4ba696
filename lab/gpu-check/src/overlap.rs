//! Overlap: the next batch's upload lies under the step, by the device's own clock.

use super::finding::Task;
use super::gpu;
use super::options::Extent;
use super::outcome::Found;
use alexnet::backend::cuda::{Gpu, Graphs, Precision};
use alexnet::backend::{Backend, DeviceTimes, Pass, Slot, StepScalars};
use alexnet::bench::Rates;
use alexnet::error::Result;
use alexnet::trace::Interval;
use alexnet::train::experiment::Experiment;

/// What part of an upload (or of the step, where that is the shorter) must lie under the step before, in the median.
const MOST: f64 = 0.9;
/// Steps before those that count: recording takes the host longer than a step takes the device.
const WARM_UP_STEPS: usize = 6;

/// Looks at when uploads and steps were under way.
pub fn task<'a>(gpu: &'a Gpu, extent: &'a Extent) -> Task<'a> {
    Task::check("overlap: the upload of batch n + 1 under step n", || {
        let experiment = gpu::experiment(gpu, None, extent)?;
        let options = experiment.backend_options();
        let mut backend = gpu::backend(gpu, &experiment.network, options, Graphs::Used, Precision::Bf16)?;
        let num_steps = extent.overlap_steps + WARM_UP_STEPS as u64;
        let found = judged(&measured(backend.as_mut(), &experiment, num_steps)?);
        Ok(match extent.shows_overlap() {
            true => found,
            false => Found::skipped(format!("{}; so small a step shows nothing", found.what)),
        })
    })
}

fn judged(times: &[DeviceTimes]) -> Found {
    let pairs = || times.windows(2).skip(WARM_UP_STEPS);
    let median = |value: fn(&[DeviceTimes]) -> f64| Rates::of(pairs().map(value)).map_or(0.0, |rates| rates.median);
    let hidden = median(|pair| hidden(&pair[1].upload, &pair[0].step));
    let upload = median(|pair| pair[1].upload.seconds());
    let step = median(|pair| pair[0].step.seconds());
    let gap = median(|pair| pair[1].step.begun.saturating_duration_since(pair[0].step.ended).as_secs_f64());
    let what = format!(
        "{:.1}% in the median of {}: an upload takes {:.3} ms, a step {:.3} ms, between two steps lie {:.3} ms",
        1e2 * hidden,
        pairs().count(),
        1e3 * upload,
        1e3 * step,
        1e3 * gap
    );
    if hidden >= MOST { Found::passed(what) } else { Found::failed(what) }
}

/// The part of the shorter one during which both were under way.
fn hidden(upload: &Interval, step: &Interval) -> f64 {
    let (begun, ended) = (upload.begun.max(step.begun), upload.ended.min(step.ended));
    let shorter = upload.seconds().min(step.seconds());
    if shorter > 0.0 { ended.saturating_duration_since(begun).as_secs_f64() / shorter } else { 0.0 }
}

/// As the trainer does, but with batches that are always there: what lies between two steps is not the input's.
fn measured(backend: &mut dyn Backend, experiment: &Experiment, num_steps: u64) -> Result<Vec<DeviceTimes>> {
    backend.load(&experiment.parameters)?;
    let mut batches = experiment.synthetic_batches(backend.input_dtype())?;
    backend.upload(Slot::of_step(0), batches.pop().expect("two synthetic batches"))?;
    let mut times = Vec::with_capacity(num_steps as usize);
    for step in 0..num_steps {
        let (slot, next) = (Slot::of_step(step), Slot::of_step(step + 1));
        backend.run(slot, Pass::Train, StepScalars { step, learning_rate: 0.0 })?;
        batches.extend(backend.reclaim(next)?);
        backend.upload(next, batches.pop().expect("a batch that no slot holds"))?;
        if let Some(before) = step.checked_sub(1) {
            times.extend(backend.device_times(Slot::of_step(before))?);
        }
    }
    times.extend(backend.device_times(Slot::of_step(num_steps - 1))?);
    for slot in Slot::ALL {
        backend.reclaim(slot)?;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn what_lies_beside_a_step_is_not_hidden() {
        let origin = Instant::now();
        let at = |begun: u64, ended: u64| Interval {
            begun: origin + Duration::from_millis(begun),
            ended: origin + Duration::from_millis(ended),
        };
        let step = at(10, 20);
        let cases = [(at(12, 16), 1.0), (at(8, 12), 0.5), (at(20, 24), 0.0), (at(0, 8), 0.0), (at(5, 25), 1.0)];
        for (upload, expected) in cases {
            assert!((hidden(&upload, &step) - expected).abs() < 1e-9, "{upload:?}");
        }
        let times = |upload| DeviceTimes { upload, step };
        assert_eq!(judged(&vec![times(at(12, 16)); 12]).outcome, Outcome::Passed);
        assert_eq!(judged(&vec![times(at(20, 24)); 12]).outcome, Outcome::Failed);
    }
}
