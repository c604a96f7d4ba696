//! A device of chosen times that computes nothing: shows what the loop around a device does, without one.
//!
//! It has what a GPU has: calls that return at once, two slots, a queue of uploads and a queue of steps that work at
//! the same time, and an order between them (a step waits for its batch, an upload for the step that reads its slot).
//! Since each piece of work takes a time known beforehand, its end is known when it is asked for, and nothing but the
//! waiting is left to do. Losses are a function of the batch.

use std::time::{Duration, Instant};

use super::{Backend, BackendOptions, Call, Device, DeviceTimes, Pass, Slot, Statistics, StepScalars};
use crate::clock::Clock;
use crate::error::Result;
use crate::input::{Batch, Dtype, Values};
use crate::model::{Network, ParameterLayout, Parameters};
use crate::trace::Interval;

/// How long a synthetic device takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// For the upload of a batch.
    pub upload: Duration,
    /// For a step, whether it learns or not.
    pub step: Duration,
}

/// The device, and the weights that it was given.
#[derive(Debug)]
pub struct SyntheticBackend {
    device: Device,
    batch_size: usize,
    num_classes: usize,
    /// Of one image, by layer.
    output_values: Vec<usize>,
    pace: Pace,
    clock: Clock,
    slots: [SlotState; 2],
    /// When the last upload and the last step that were asked for are done.
    uploads_end: Instant,
    steps_end: Instant,
    parameters: Parameters,
}

/// One of the two inputs.
#[derive(Debug)]
struct SlotState {
    batch: Option<Batch>,
    upload: Interval,
    last: Option<Ran>,
    /// (N, num_classes), all the same.
    probabilities: Vec<f32>,
}

/// The last step on a slot.
#[derive(Clone, Copy, Debug)]
struct Ran {
    times: DeviceTimes,
    statistics: Statistics,
}

impl SyntheticBackend {
    /// A device that takes `pace` by `clock`.
    pub fn new(network: &Network, options: BackendOptions, pace: Pace, clock: Clock) -> Self {
        let (batch_size, num_classes, now) = (options.batch_size, network.num_classes, clock.now());
        let probabilities = vec![1.0 / num_classes as f32; batch_size * num_classes];
        let parameters = Parameters::zeros(ParameterLayout::new(network));
        let num_values = 2 * (probabilities.len() + parameters.values.len());
        let name = format!("synthetic ({:?} a step, {:?} an upload)", pace.step, pace.upload);
        let idle = Interval { begun: now, ended: now };
        Self {
            device: Device {
                name,
                precision: "none",
                memory_bytes: (num_values * size_of::<f32>()) as u64,
                pci_bus_id: None,
            },
            batch_size,
            num_classes,
            output_values: network.layers.iter().map(|layer| layer.block.output_values()).collect(),
            pace,
            clock,
            slots: [(); 2].map(|()| SlotState {
                batch: None,
                upload: idle,
                last: None,
                probabilities: probabilities.clone(),
            }),
            uploads_end: now,
            steps_end: now,
            parameters,
        }
    }

    fn last(&self, slot: Slot) -> Ran {
        self.slots[slot as usize].last.expect("a step was launched on the slot")
    }

    /// Work that begins when all of `after` are over, and not before now.
    fn work(&self, time: Duration, after: [Instant; 2]) -> Interval {
        let begun = after.into_iter().fold(self.clock.now(), Instant::max);
        Interval { begun, ended: begun + time }
    }
}

impl Backend for SyntheticBackend {
    fn device(&self) -> &Device {
        &self.device
    }

    fn input_dtype(&self) -> Dtype {
        Dtype::F16
    }

    fn load(&mut self, parameters: &Parameters) -> Result<()> {
        self.parameters.clone_from(parameters);
        Ok(())
    }

    fn store(&mut self, parameters: &mut Parameters) -> Result<()> {
        self.clock.wait_until(self.steps_end);
        parameters.clone_from(&self.parameters);
        Ok(())
    }

    fn upload(&mut self, slot: Slot, batch: Batch) -> Result<()> {
        assert!(batch.num_valid <= self.batch_size, "{} samples, room for {}", batch.num_valid, self.batch_size);
        let state = &self.slots[slot as usize];
        assert!(state.batch.is_none(), "{slot:?}: its batch was not reclaimed");
        let read = state.last.map_or(self.uploads_end, |last| last.times.step.ended);
        let upload = self.work(self.pace.upload, [self.uploads_end, read]);
        self.uploads_end = upload.ended;
        let state = &mut self.slots[slot as usize];
        (state.batch, state.upload) = (Some(batch), upload);
        Ok(())
    }

    fn reclaim(&mut self, slot: Slot) -> Result<Option<Batch>> {
        let state = &mut self.slots[slot as usize];
        let Some(batch) = state.batch.take() else { return Ok(None) };
        self.clock.wait_until(state.upload.ended);
        Ok(Some(batch))
    }

    fn run(&mut self, slot: Slot, _pass: Pass, _scalars: StepScalars) -> Result<()> {
        let state = &self.slots[slot as usize];
        let (upload, batch) = (state.upload, state.batch.as_ref().expect("a batch was uploaded to the slot"));
        let statistics = synthetic_statistics(batch, self.num_classes);
        let step = self.work(self.pace.step, [self.steps_end, upload.ended]);
        self.steps_end = step.ended;
        self.slots[slot as usize].last = Some(Ran { times: DeviceTimes { upload, step }, statistics });
        Ok(())
    }

    fn run_timed(&mut self, _slot: Slot, _scalars: StepScalars) -> Result<Vec<(Call, f64)>> {
        Ok(Vec::new())
    }

    fn statistics(&mut self, slot: Slot) -> Result<Statistics> {
        let Ran { times, statistics } = self.last(slot);
        self.clock.wait_until(times.step.ended);
        Ok(statistics)
    }

    fn device_times(&mut self, slot: Slot) -> Result<Option<DeviceTimes>> {
        let times = self.last(slot).times;
        self.clock.wait_until(times.step.ended);
        Ok(Some(times))
    }

    fn probabilities(&mut self, slot: Slot) -> Result<&[f32]> {
        let Ran { times, statistics } = self.last(slot);
        self.clock.wait_until(times.step.ended);
        let num_values = statistics.num_samples as usize * self.num_classes;
        Ok(&self.slots[slot as usize].probabilities[..num_values])
    }

    fn output(&mut self, layer: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; self.batch_size * self.output_values[layer]])
    }

    fn gradients(&mut self, parameters: &mut Parameters) -> Result<()> {
        parameters.values.fill(0.0);
        Ok(())
    }
}

/// Losses between 0 and twice that of guessing, by each sample's label and the value in its middle.
fn synthetic_statistics(batch: &Batch, num_classes: usize) -> Statistics {
    let sample_values = match &batch.values {
        Values::F32(values) => values.len(),
        Values::F16(values) => values.len(),
    } / batch.num_samples();
    let middle = |sample: usize| match &batch.values {
        Values::F32(values) => values[sample * sample_values + sample_values / 2].to_bits(),
        Values::F16(values) => u32::from(values[sample * sample_values + sample_values / 2].to_bits()),
    };
    let guessing = (num_classes as f64).ln();
    let loss = |sample: usize| {
        // The golden ratio's multiplier spreads neighbours over all 32 bits.
        let mixed = (batch.labels[sample] ^ middle(sample).rotate_left(16)).wrapping_mul(0x9e37_79b1);
        2.0 * guessing * f64::from(mixed) / f64::from(u32::MAX)
    };
    Statistics {
        loss_sum: (0..batch.num_valid).map(loss).sum(),
        num_top1: 0,
        num_top5: 0,
        num_samples: batch.num_valid as u64,
    }
}
