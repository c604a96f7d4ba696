//! What the bench found: a table for people, JSON for scripts.

use std::fmt;

use indicatif::HumanBytes;
use serde::Serialize;

use super::Rounds;
use super::options::Stage;
use super::rates::Rates;
use super::resources::peak_resident_bytes;
use crate::backend::Device;
use crate::input::Dtype;
use crate::train::experiment::Experiment;

/// What was measured. A stage that was not asked for is null.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    input: Option<InputReport>,
    upload: Option<UploadReport>,
    device: Option<DeviceReport>,
    end_to_end: Option<EndToEndReport>,
    /// The slowest of the stages alone.
    bottleneck: Option<&'static str>,
    memory: MemoryReport,
}

/// `images_per_second` is the median of the rounds; `spread` has them all.
#[derive(Clone, Debug, Serialize)]
struct InputReport {
    images_per_second: f64,
    workers: usize,
    dtype: &'static str,
    images_per_cpu_second: f64,
    spread: Rates,
}

#[derive(Clone, Debug, Serialize)]
struct UploadReport {
    /// Null where nothing is copied.
    images_per_second: Option<f64>,
    transfer: &'static str,
    bytes_per_second: Option<f64>,
    spread: Option<Rates>,
}

#[derive(Clone, Debug, Serialize)]
struct DeviceReport {
    images_per_second: f64,
    /// The median of all steps.
    step_seconds: f64,
    device: String,
    precision: &'static str,
    batch_size: usize,
    spread: Rates,
    step_spread: Rates,
}

#[derive(Clone, Debug, Serialize)]
struct EndToEndReport {
    images_per_second: f64,
    /// The median of the rounds' ratios; null where not all other stages were measured.
    ratio_to_slowest_stage: Option<f64>,
    input_wait_ratio: f64,
    spread: Rates,
    ratio_spread: Option<Rates>,
}

#[derive(Clone, Debug, Serialize)]
struct MemoryReport {
    /// Mapped pages of shards included.
    peak_resident_bytes: Option<u64>,
    device_bytes: Option<u64>,
    input_bytes: Option<u64>,
}

impl Report {
    pub(super) fn new(
        rounds: &Rounds,
        experiment: &Experiment,
        workers: usize,
        dtype: Dtype,
        device: Option<&Device>,
    ) -> Self {
        let input_bytes = rounds.input.iter().map(|round| round.memory_bytes);
        let input_bytes = input_bytes.chain(rounds.end_to_end.iter().map(|round| round.memory_bytes)).max();
        let mut report = Self {
            input: InputReport::new(rounds, workers, dtype),
            upload: UploadReport::new(rounds),
            device: device.and_then(|device| DeviceReport::new(rounds, experiment, device)),
            end_to_end: EndToEndReport::new(rounds),
            bottleneck: None,
            memory: MemoryReport {
                peak_resident_bytes: peak_resident_bytes(),
                device_bytes: device.map(|device| device.memory_bytes),
                input_bytes,
            },
        };
        report.bottleneck = report.slowest().map(|(stage, _)| stage.name());
        report
    }

    /// Images a second of a stage that was measured.
    pub fn images_per_second(&self, stage: Stage) -> Option<Rates> {
        match stage {
            Stage::Input => Some(self.input.as_ref()?.spread),
            Stage::Upload => self.upload.as_ref()?.spread,
            Stage::Device => Some(self.device.as_ref()?.spread),
            Stage::EndToEnd => Some(self.end_to_end.as_ref()?.spread),
        }
    }

    /// Seconds from the end of one of the device's steps to that of the next, where they were measured.
    pub fn step_seconds(&self) -> Option<Rates> {
        Some(self.device.as_ref()?.step_spread)
    }

    /// The slowest stage alone, where input and device were measured.
    fn slowest(&self) -> Option<(Stage, f64)> {
        let input = (Stage::Input, self.input.as_ref()?.images_per_second);
        let device = (Stage::Device, self.device.as_ref()?.images_per_second);
        let upload = self.upload.as_ref().and_then(|upload| Some((Stage::Upload, upload.images_per_second?)));
        [input, device].into_iter().chain(upload).min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl InputReport {
    fn new(rounds: &Rounds, workers: usize, dtype: Dtype) -> Option<Self> {
        let spread = Rates::of(rounds.input.iter().map(|round| round.images_per_second))?;
        let images_per_cpu_second = Rates::of(rounds.input.iter().map(|round| round.images_per_cpu_second))?.median;
        Some(Self { images_per_second: spread.median, workers, dtype: dtype.name(), images_per_cpu_second, spread })
    }
}

impl UploadReport {
    fn new(rounds: &Rounds) -> Option<Self> {
        let speeds = || rounds.upload.iter().map(|round| round.speed);
        // Asked for, and nothing to measure.
        speeds().next()?;
        let spread = Rates::of(speeds().flatten().map(|speed| speed.images_per_second));
        let bytes = Rates::of(speeds().flatten().map(|speed| speed.bytes_per_second));
        let transfer = if spread.is_some() { "copied" } else { "no copy" };
        let images_per_second = spread.map(|rates| rates.median);
        Some(Self { images_per_second, transfer, bytes_per_second: bytes.map(|rates| rates.median), spread })
    }
}

impl DeviceReport {
    fn new(rounds: &Rounds, experiment: &Experiment, device: &Device) -> Option<Self> {
        let spread = Rates::of(rounds.device.iter().map(|round| round.images_per_second))?;
        let step_spread = Rates::of(rounds.device.iter().flat_map(|round| round.step_seconds.iter().copied()))?;
        Some(Self {
            images_per_second: spread.median,
            step_seconds: step_spread.median,
            device: device.name.clone(),
            precision: device.precision,
            batch_size: experiment.settings().train.batch_size,
            spread,
            step_spread,
        })
    }
}

impl EndToEndReport {
    fn new(rounds: &Rounds) -> Option<Self> {
        let spread = Rates::of(rounds.end_to_end.iter().map(|round| round.images_per_second))?;
        let input_wait_ratio = Rates::of(rounds.end_to_end.iter().map(|round| round.input_wait_ratio))?.median;
        let ratio_spread = Rates::of(ratios(rounds));
        Some(Self {
            images_per_second: spread.median,
            ratio_to_slowest_stage: ratio_spread.map(|rates| rates.median),
            input_wait_ratio,
            spread,
            ratio_spread,
        })
    }
}

/// Of each round that has the stages to compare with.
fn ratios(rounds: &Rounds) -> impl Iterator<Item = f64> {
    let alone = rounds.input.iter().zip(&rounds.device);
    rounds.end_to_end.iter().zip(alone).enumerate().map(|(round, (end_to_end, (input, device)))| {
        let upload = rounds.upload.get(round).and_then(|upload| upload.speed);
        let upload = upload.map_or(f64::INFINITY, |speed| speed.images_per_second);
        end_to_end.images_per_second / input.images_per_second.min(device.images_per_second).min(upload)
    })
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<11} {:>10}  {:<24} {:>2}", "", "images/s", "lowest to highest", "n")?;
        if let Some(input) = &self.input {
            let plural = if input.workers == 1 { "worker" } else { "workers" };
            let notes = format!(
                "{} {plural}, {}, {:.0} images per CPU second",
                input.workers, input.dtype, input.images_per_cpu_second
            );
            row(out, "input", &input.spread, &notes)?;
        }
        match &self.upload {
            Some(UploadReport { spread: Some(spread), bytes_per_second, .. }) => {
                let gigabytes = bytes_per_second.unwrap_or_default() / 1e9;
                row(out, "upload", spread, &format!("{gigabytes:.2} GB/s"))?;
            }
            Some(_) => writeln!(out, "{:<11} {:>10}  no copy: the device reads batches where they lie", "upload", "-")?,
            None => {}
        }
        if let Some(device) = &self.device {
            let milliseconds = 1e3 * device.step_seconds;
            let notes = format!("{milliseconds:.2} ms a step of {}; {}", device.batch_size, device.device);
            row(out, "device", &device.spread, &format!("{notes}, {}", device.precision))?;
        }
        if let Some(end_to_end) = &self.end_to_end {
            let ratio =
                end_to_end.ratio_to_slowest_stage.map(|ratio| format!("{ratio:.3} of the slowest stage alone; "));
            let waited = 100.0 * end_to_end.input_wait_ratio;
            let notes = format!("{}{waited:.1}% of the time waiting for input", ratio.unwrap_or_default());
            row(out, "end to end", &end_to_end.spread, &notes)?;
        }
        if let Some(bottleneck) = self.bottleneck {
            writeln!(out, "{:<11} {bottleneck:>10}", "bottleneck")?;
        }
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), |bytes| HumanBytes(bytes).to_string());
        write!(
            out,
            "memory      {} at most, mapped shards included; {} for the network, {} for input batches",
            bytes(self.memory.peak_resident_bytes),
            bytes(self.memory.device_bytes),
            bytes(self.memory.input_bytes)
        )
    }
}

fn row(out: &mut fmt::Formatter<'_>, name: &str, rates: &Rates, notes: &str) -> fmt::Result {
    let spread = format!("{} to {}", short(rates.min), short(rates.max));
    writeln!(out, "{name:<11} {:>10}  {spread:<24} {:>2}  {notes}", short(rates.median), rates.n)
}

/// Three digits at least.
fn short(rate: f64) -> String {
    let digits = if rate < 100.0 { 1 } else { 0 };
    format!("{rate:.digits$}")
}
