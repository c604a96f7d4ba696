//! A slot: a batch on the device, how it gets there, and what the step on it says of itself.

use std::sync::Arc;

use half::f16;

use super::clock::DeviceClock;
use super::input::ArrangedInput;
use crate::backend::cuda::driver::{Buffer, Context, Event, PageLock, Pinned, Stream, Timing};
use crate::backend::cuda::kernels::{Kernels, Scalars, StepStatistics};
use crate::backend::cuda::real::Real;
use crate::backend::{BackendOptions, DeviceTimes, Statistics, StepScalars};
use crate::error::Result;
use crate::input::{Batch, Values};
use crate::model::{ConvBlock, Network};
use crate::trace::Interval;

/// One of two: while the device computes on one, the other's next batch comes.
#[derive(Debug)]
pub struct DeviceSlot<R> {
    /// (N, 3, canvas, canvas).
    input: Buffer<f16>,
    /// The same as the first layer takes it.
    pub arranged: ArrangedInput<R>,
    /// (N).
    pub labels: Buffer<u32>,
    /// What changes from step to step.
    pub scalars: Buffer<Scalars>,
    /// Of the step that ran last: on the host, where the device writes them.
    pub statistics: Pinned<StepStatistics>,
    /// (N, num_classes), of the evaluation that ran last.
    pub probabilities: Buffer<f32>,
    host_labels: Pinned<u32>,
    /// Where batches go through on their way, once the driver has refused to lock the pages of one.
    staging: Option<Pinned<f16>>,
    host_probabilities: Vec<f32>,
    /// The host batch that lies here, until it is reclaimed.
    batch: Option<Batch>,
    num_valid: usize,
    /// Whether a step has run on the slot.
    has_begun: bool,
    /// On the copy stream: before and after the batch's copies.
    upload_begun: Event,
    uploaded: Event,
    /// When the upload before the last one was under way, where the last one's step has not begun.
    upload_before: Option<Interval>,
    /// On the copy stream: after the input was arranged and the step's scalars were written.
    arranged_at: Event,
    /// On the compute stream: before a step's work, and after it.
    begun: Event,
    finished: Event,
}

impl<R: Real> DeviceSlot<R> {
    /// Room for a batch, all zero.
    pub fn new(context: &Arc<Context>, network: &Network, first: &ConvBlock, options: &BackendOptions) -> Result<Self> {
        let batch_size = options.batch_size;
        Ok(Self {
            input: Buffer::zeros(context, "an input batch", batch_size * network.input_values())?,
            arranged: ArrangedInput::new(context, first, batch_size)?,
            labels: Buffer::zeros(context, "labels", batch_size)?,
            scalars: Buffer::zeros(context, "a step's scalars", 1)?,
            statistics: Pinned::zeros(context, 1)?,
            probabilities: Buffer::zeros(context, "probabilities", batch_size * network.num_classes)?,
            host_labels: Pinned::zeros(context, batch_size)?,
            staging: None,
            host_probabilities: vec![0.0; batch_size * network.num_classes],
            batch: None,
            num_valid: 0,
            has_begun: false,
            upload_begun: Event::new(context, Timing::Yes)?,
            uploaded: Event::new(context, Timing::Yes)?,
            upload_before: None,
            arranged_at: Event::new(context, Timing::No)?,
            begun: Event::new(context, Timing::Yes)?,
            finished: Event::new(context, Timing::Yes)?,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        self.input.num_bytes()
            + self.arranged.values.num_bytes()
            + self.labels.num_bytes()
            + self.probabilities.num_bytes()
    }

    /// Begins to bring the batch here, once the step that used the slot last has ended. The slot's last batch has been
    /// reclaimed.
    pub fn upload(&mut self, stream: &Stream, clock: &DeviceClock, mut batch: Batch) -> Result<()> {
        assert!(self.batch.is_none(), "the slot's last batch was not reclaimed");
        if self.has_begun {
            // Its step may not have been asked for its times yet, and the events are about to be recorded anew.
            self.upload_before = Some(clock.interval(&self.upload_begun, &self.uploaded)?);
        }
        let Values::F16(values) = &mut batch.values else { panic!("the CUDA backend takes f16 batches") };
        let batch_size = self.labels.len();
        assert_eq!(values.len(), self.input.len(), "values of a batch");
        assert!((1..=batch_size).contains(&batch.num_valid), "{} valid samples of {batch_size}", batch.num_valid);
        if !values.is_page_locked() && self.staging.is_none() {
            // SAFETY: the buffer drops the lock before its values, which never move.
            match unsafe { PageLock::new(stream.context(), values) } {
                Ok(lock) => values.lock_pages(Box::new(lock)),
                Err(error) => {
                    crate::tell!("warning: {error}; batches are copied twice on their way to the GPU");
                    self.staging = Some(Pinned::zeros(stream.context(), values.len())?);
                }
            }
        }
        // SAFETY: the last copy from them was waited for when the slot's last batch was reclaimed.
        unsafe { self.host_labels.as_mut_slice() }.copy_from_slice(&batch.labels);
        self.num_valid = batch.num_valid;
        stream.wait(&self.finished)?;
        stream.record(&self.upload_begun)?;
        // From here on the copies may be under way, so the batch stays here also where one of them fails.
        let batch = self.batch.insert(batch);
        let Values::F16(values) = &batch.values else { unreachable!("seen above") };
        let from = match &mut self.staging {
            Some(staging) if !values.is_page_locked() => {
                // SAFETY: as for the labels.
                let staging = unsafe { staging.as_mut_slice() };
                staging.copy_from_slice(values);
                &*staging
            }
            _ => &**values,
        };
        // SAFETY: page-locked; `reclaim` waits for `uploaded` before the batch leaves or the staging buffer is filled
        // anew, and the backend for everything before it is dropped.
        unsafe { stream.copy_to_device(from, &mut self.input.all_mut()) }?;
        // SAFETY: nothing is ever copied to them.
        let labels = unsafe { self.host_labels.as_slice() };
        // SAFETY: pinned; they change only in the next upload, after a `reclaim`.
        unsafe { stream.copy_to_device(labels, &mut self.labels.all_mut()) }?;
        stream.record(&self.uploaded)
    }

    /// The batch, once the copies from it have ended: by then they have, unless the caller is early.
    pub fn reclaim(&mut self) -> Result<Option<Batch>> {
        if self.batch.is_some() {
            self.uploaded.synchronize()?;
        }
        Ok(self.batch.take())
    }

    /// What is enqueued on `compute` from now on is the step on this slot's batch. What comes before it is `copy`'s,
    /// while the step before is under way.
    pub fn begin(&mut self, kernels: &Kernels<R>, copy: &Stream, compute: &Stream, scalars: StepScalars) -> Result<()> {
        self.has_begun = true;
        self.upload_before = None;
        let StepScalars { step, learning_rate } = scalars;
        // A slot may be run again without an upload between.
        copy.wait(&self.finished)?;
        kernels.begin_step(copy, &mut self.scalars.all_mut(), step, learning_rate, self.num_valid as u32)?;
        self.arranged.arrange(kernels, copy, self.input.all(), self.scalars.all())?;
        copy.record(&self.arranged_at)?;
        compute.wait(&self.arranged_at)?;
        compute.record(&self.begun)
    }

    /// The step on this slot's batch ends with what has been enqueued on `compute` until now.
    pub fn finish(&mut self, compute: &Stream) -> Result<()> {
        compute.record(&self.finished)
    }

    /// Waits for the end of the step, and reads what it found.
    pub fn statistics(&self) -> Result<Statistics> {
        self.finished.synchronize()?;
        // SAFETY: the step has ended, and the next one needs `&mut self`.
        let [statistics] = (unsafe { self.statistics.as_slice() }) else { unreachable!("one step's") };
        Ok(Statistics {
            loss_sum: statistics.loss_sum,
            num_top1: u64::from(statistics.num_top1),
            num_top5: u64::from(statistics.num_top5),
            num_samples: u64::from(statistics.num_samples),
        })
    }

    /// Waits for the end of an evaluation, and reads its softmax outputs, (num_valid, num_classes).
    pub fn probabilities(&mut self, num_classes: usize) -> Result<&[f32]> {
        self.finished.synchronize()?;
        let len = self.num_valid * num_classes;
        let host = &mut self.host_probabilities[..len];
        self.probabilities.part(0..len).read(host)?;
        Ok(host)
    }

    /// When the device did the last step, and the upload that it read; waits for it.
    pub fn times(&self, clock: &DeviceClock) -> Result<DeviceTimes> {
        self.finished.synchronize()?;
        let upload = match self.upload_before {
            Some(before) => before,
            None => clock.interval(&self.upload_begun, &self.uploaded)?,
        };
        Ok(DeviceTimes { upload, step: clock.interval(&self.begun, &self.finished)? })
    }
}
