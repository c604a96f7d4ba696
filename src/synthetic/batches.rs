//! Synthetic batches: what the device alone can do is measured with them, without shards.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use half::f16;

use super::values::bytes;
use crate::error::Result;
use crate::input::{Batch, BatchSource, Dtype, Frame, PipelineStats, Values};
use crate::philox::{Purpose, below, words};

/// The shape of synthetic batches.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticOptions {
    /// Of the values and labels.
    pub seed: u64,
    /// The type that the backend asks for.
    pub dtype: Dtype,
    /// Samples of a batch.
    pub batch_size: usize,
    /// The shape and scale of an input.
    pub frame: Frame,
    /// Labels are drawn from 0..num_classes.
    pub num_classes: usize,
    /// Batches that exist; each is drawn once and comes again and again.
    pub buffers: usize,
    /// Steps that count as an epoch.
    pub steps_per_epoch: u64,
    /// The steps to play.
    pub steps: Range<u64>,
}

/// Lends synthetic batches: whole numbers of -128..=127 times the scale, labels uniform.
#[derive(Debug)]
pub struct SyntheticSource {
    steps: Range<u64>,
    steps_per_epoch: u64,
    batches: VecDeque<Batch>,
    memory_bytes: u64,
    stats: Arc<PipelineStats>,
}

impl SyntheticSource {
    /// Draws all batches.
    pub fn new(options: &SyntheticOptions) -> Self {
        let batches: VecDeque<Batch> = (0..options.buffers).map(|slot| drawn(options, slot as u32)).collect();
        let bytes = |batch: &Batch| (batch.num_bytes() + size_of_val(batch.labels.as_slice())) as u64;
        let memory_bytes = batches.iter().map(bytes).sum();
        let stats = Arc::new(PipelineStats::default());
        batches.iter().for_each(|_| stats.batch_ready());
        let (steps, steps_per_epoch) = (options.steps.clone(), options.steps_per_epoch);
        Self { steps, steps_per_epoch, batches, memory_bytes, stats }
    }
}

/// The contents of one buffer.
fn drawn(options: &SyntheticOptions, slot: u32) -> Batch {
    let mut batch = Batch::zeros(options.dtype, options.batch_size, options.frame.num_values());
    let draws = bytes(options.seed, [slot, 0]).map(|byte| f32::from(byte as i8) * options.frame.scale);
    match &mut batch.values {
        Values::F32(values) => values.iter_mut().zip(draws).for_each(|(value, draw)| *value = draw),
        Values::F16(values) => values.iter_mut().zip(draws).for_each(|(value, draw)| *value = f16::from_f32(draw)),
    }
    for (quad, labels) in batch.labels.chunks_mut(4).enumerate() {
        for (label, word) in labels.iter_mut().zip(words(options.seed, Purpose::Synthetic, [quad as u32, slot, 1])) {
            *label = below(word, options.num_classes as u32);
        }
    }
    batch.num_valid = options.batch_size;
    batch
}

impl BatchSource for SyntheticSource {
    fn recv(&mut self) -> Result<Option<Batch>> {
        let Some(step) = self.steps.next() else { return Ok(None) };
        let mut batch = self.batches.pop_front().unwrap_or_else(|| panic!("step {step}: all batches are lent"));
        batch.step = step;
        batch.epoch = u32::try_from(step / self.steps_per_epoch).expect("epochs are counted in 32 bits");
        self.stats.batch_taken();
        self.stats.synthetic(batch.num_valid);
        Ok(Some(batch))
    }

    fn recycle(&mut self, batch: Batch) {
        self.stats.batch_ready();
        self.batches.push_back(batch);
    }

    fn stats(&self) -> &Arc<PipelineStats> {
        &self.stats
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dtype: Dtype) -> SyntheticOptions {
        SyntheticOptions {
            seed: 1,
            dtype,
            batch_size: 50,
            frame: Frame { crop: 6, canvas: 7, scale: 0.5 },
            num_classes: 3,
            buffers: 2,
            steps_per_epoch: 4,
            steps: 3..9,
        }
    }

    #[test]
    fn synthetic_batches_have_the_shape_of_real_ones_and_come_again() {
        let mut source = SyntheticSource::new(&options(Dtype::F32));
        assert_eq!(source.memory_bytes(), 2 * 50 * (4 * 3 * 7 * 7 + 4));
        let mut batches = Vec::new();
        while let Some(batch) = source.recv().unwrap() {
            batches.push(batch.clone());
            source.recycle(batch);
        }
        let steps: Vec<(u64, u32)> = batches.iter().map(|batch| (batch.step, batch.epoch)).collect();
        assert_eq!(steps, [(3, 0), (4, 1), (5, 1), (6, 1), (7, 1), (8, 2)]);
        assert!(batches[0].values != batches[1].values && batches[0].values == batches[2].values);
        let labels: Vec<u32> = batches[..2].iter().flat_map(|batch| batch.labels.clone()).collect();
        // 33 of each class expected, deviation 4.7.
        for class in 0..3 {
            let count = labels.iter().filter(|label| **label == class).count();
            assert!((10..=57).contains(&count), "{count} of class {class}");
        }
        let Values::F32(values) = &batches[0].values else { panic!("f32 was asked for") };
        assert!(values.iter().all(|value| (-64.0..=63.5).contains(value) && (value * 2.0).fract() == 0.0));
        // 7,350 values, deviation 37 each: five standard errors of their mean are 2.2.
        assert!(values.iter().sum::<f32>().abs() / 7350.0 < 2.2 + 0.25);
        assert_eq!(source.stats().snapshot().num_images, 6 * 50);
    }
}
