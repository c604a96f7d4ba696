//! What the tests share: synthetic batches and whole steps.

use alexnet::backend::{Backend, Pass, Slot, Statistics, StepScalars};
use alexnet::input::{Batch, Dtype, Values};
use alexnet::model::Network;
use alexnet::philox::{Purpose, normal_pair, words};

/// `num_samples` synthetic images of N(0, 1), of classes in turn.
pub fn synthetic_batch(network: &Network, num_samples: usize) -> Batch {
    let mut batch = Batch::zeros(Dtype::F32, num_samples, network.input_values());
    batch.num_valid = num_samples;
    let Values::F32(values) = &mut batch.values else { panic!("asked for f32") };
    for (index, pair) in values.chunks_mut(2).enumerate() {
        let bits = words(3, Purpose::Synthetic, [index as u32, 0, 0]);
        pair.iter_mut().zip(normal_pair(bits[0], bits[1])).for_each(|(value, draw)| *value = draw);
    }
    for (index, label) in batch.labels.iter_mut().enumerate() {
        *label = (index % network.num_classes) as u32;
    }
    batch
}

/// One pass over a batch, which comes back.
pub fn run(
    backend: &mut dyn Backend,
    pass: Pass,
    number: u64,
    learning_rate: f32,
    batch: Batch,
) -> (Statistics, Batch) {
    let slot = Slot::of_step(number);
    backend.upload(slot, batch).unwrap();
    backend.run(slot, pass, StepScalars { step: number, learning_rate }).unwrap();
    (backend.statistics(slot).unwrap(), backend.reclaim(slot).unwrap().expect("the batch that was uploaded"))
}
