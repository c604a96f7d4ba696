//! The CPU backend: f32, NCHW, im2col and products of matrices, parallel over images. It is the specification of
//! every other backend.
//!
//! In: f32 batches, which stay where the input wrote them. Out: statistics, probabilities, weights. [`CpuBackend`]
//! owns all memory, allocated when it is made; a file holds one kind of layer, forward and backward together.
//!
//! Results are bit-identical for any number of threads: work is cut by shape alone, each product runs on one
//! thread, and sums over the batch are added in a fixed order.

mod conv_block;
mod convolution;
mod dense_block;
pub(super) mod dropout;
pub(super) mod loss;
mod lrn;
mod panels;
#[cfg(test)]
mod parity;
mod pool;
mod product;
mod real;
mod relu;
mod stride;
pub(super) mod tail;
#[cfg(test)]
pub(super) mod testing;
mod unfold;
pub(super) mod update;
mod wide;
mod workers;
mod workspace;

use std::num::NonZeroUsize;
use std::time::Instant;

use rayon::prelude::*;

use self::conv_block::ConvBlock;
use self::dense_block::DenseBlock;
use self::dropout::DropoutDraw;
use self::loss::{SampleLoss, softmax_cross_entropy, softmax_cross_entropy_backward};
use self::update::Update;
use self::workspace::{Activations, Room, Tensors, Workspace};
use super::step::{Layers, calls};
use super::{Backend, BackendOptions, Call, Device, Pass, Slot, Statistics, StepScalars, Transfer};
use crate::error::Result;
use crate::input::{Batch, Dtype, Values};
use crate::machine::processor;
use crate::model::{self, Network, ParameterLayout, Parameters};

/// AlexNet on the CPU.
pub struct CpuBackend {
    device: Device,
    options: BackendOptions,
    layout: ParameterLayout,
    num_classes: usize,
    blocks: Vec<Block>,
    workspace: Workspace<f32>,
    slots: [SlotState; 2],
    /// Weights and biases, as the layout has them.
    values: Vec<f32>,
    /// Laid out as the values.
    velocities: Vec<f32>,
    /// Laid out as the values.
    gradients: Vec<f32>,
    /// Each block's output, (N, output values).
    outputs: Vec<Vec<f32>>,
    /// Gradients of the outputs of blocks with even and odd numbers, (N, the most output values of any).
    output_gradients: [Vec<f32>; 2],
    /// (N): what each sample adds to the statistics.
    sample_losses: Vec<SampleLoss>,
}

enum Block {
    Conv(ConvBlock<f32>),
    Dense(DenseBlock),
}

/// One of the two inputs, and what the last step on it found.
struct SlotState {
    batch: Option<Batch>,
    statistics: Statistics,
    /// (N, num_classes); the first num_valid rows are of the last evaluation.
    probabilities: Vec<f32>,
    num_probabilities: usize,
}

/// A step under way.
pub(super) struct Step {
    slot: Slot,
    pass: Pass,
    scalars: StepScalars,
    num_valid: usize,
}

impl CpuBackend {
    /// A backend with zero weights, on `num_threads` threads, by default one a core.
    pub fn new(network: &Network, options: BackendOptions, num_threads: Option<NonZeroUsize>) -> Self {
        let BackendOptions { batch_size, .. } = options;
        let layout = ParameterLayout::new(network);
        let blocks: Vec<_> = network.layers.iter().map(|layer| Block::new(&layer.block, batch_size)).collect();
        let room = blocks.iter().map(|block| block.room(batch_size)).reduce(Room::max).expect("a network has layers");
        let output_values: Vec<_> = network.layers.iter().map(|layer| layer.block.output_values()).collect();
        let widest = |parity: usize| output_values.iter().skip(parity).step_by(2).max().unwrap_or(&0);
        let num_parameters = layout.num_parameters();
        let mut backend = Self {
            device: Device { name: String::new(), precision: "f32", memory_bytes: 0, pci_bus_id: None },
            options,
            num_classes: network.num_classes,
            blocks,
            workspace: Workspace::new(num_threads, room, 0.0),
            slots: [(); 2].map(|()| SlotState::new(batch_size * network.num_classes)),
            values: vec![0.0; num_parameters],
            velocities: vec![0.0; num_parameters],
            gradients: vec![0.0; num_parameters],
            outputs: output_values.iter().map(|values| vec![0.0; batch_size * values]).collect(),
            output_gradients: [0, 1].map(|parity| vec![0.0; batch_size * widest(parity)]),
            sample_losses: vec![SampleLoss::default(); batch_size],
            layout,
        };
        backend.device.name = format!("cpu ({}, {} threads)", processor(), backend.workspace.workers.num_threads());
        backend.device.memory_bytes = backend.memory_bytes();
        backend
    }

    fn memory_bytes(&self) -> u64 {
        let blocks = self.blocks.iter().map(|block| match block {
            Block::Conv(conv) => conv.num_values(),
            Block::Dense(_) => 0,
        });
        let num_values = self.values.len()
            + self.velocities.len()
            + self.gradients.len()
            + self.outputs.iter().map(Vec::len).sum::<usize>()
            + self.output_gradients.iter().map(Vec::len).sum::<usize>()
            + self.slots.iter().map(|slot| slot.probabilities.len()).sum::<usize>()
            + self.workspace.packed.len()
            + self.workspace.staged.len()
            + self.workspace.workers.num_values()
            + blocks.sum::<usize>();
        (num_values * size_of::<f32>() + size_of_val(self.sample_losses.as_slice())) as u64
    }

    fn begin(&self, slot: Slot, pass: Pass, scalars: StepScalars) -> Step {
        Step { slot, pass, scalars, num_valid: self.slots[slot as usize].batch().num_valid }
    }

    fn dropout_draw(&self, step: &Step, layer: usize) -> DropoutDraw {
        DropoutDraw { seed: self.options.seed, step: step.scalars.step, layer }
    }
}

impl Block {
    fn new(block: &model::Block, batch_size: usize) -> Self {
        match block {
            model::Block::Conv(conv) => Self::Conv(ConvBlock::new(conv, batch_size)),
            model::Block::Dense(dense) => Self::Dense(DenseBlock::new(dense)),
        }
    }

    fn room(&self, batch_size: usize) -> Room {
        match self {
            Self::Conv(conv) => conv.room(),
            Self::Dense(dense) => dense.room(batch_size),
        }
    }
}

impl SlotState {
    fn new(num_probabilities: usize) -> Self {
        let probabilities = vec![0.0; num_probabilities];
        Self { batch: None, statistics: Statistics::default(), probabilities, num_probabilities: 0 }
    }

    fn batch(&self) -> &Batch {
        self.batch.as_ref().expect("a batch was uploaded to the slot")
    }

    /// (num_valid, 3, canvas, canvas).
    fn input(&self) -> &[f32] {
        let batch = self.batch();
        let Values::F32(values) = &batch.values else { unreachable!("upload takes f32 batches only") };
        &values[..values.len() / batch.num_samples() * batch.num_valid]
    }
}

impl Backend for CpuBackend {
    fn device(&self) -> &Device {
        &self.device
    }

    fn input_dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn transfer(&self) -> Transfer {
        Transfer::HandedOver
    }

    fn load(&mut self, parameters: &Parameters) -> Result<()> {
        self.values.copy_from_slice(&parameters.values);
        self.velocities.copy_from_slice(&parameters.velocities);
        Ok(())
    }

    fn store(&mut self, parameters: &mut Parameters) -> Result<()> {
        parameters.values.copy_from_slice(&self.values);
        parameters.velocities.copy_from_slice(&self.velocities);
        Ok(())
    }

    fn upload(&mut self, slot: Slot, batch: Batch) -> Result<()> {
        assert!(matches!(batch.values, Values::F32(_)), "the CPU backend takes f32 batches");
        let (num_valid, batch_size) = (batch.num_valid, self.options.batch_size);
        assert!((1..=batch_size).contains(&num_valid), "{num_valid} valid samples, room for {batch_size}");
        let labels = &batch.labels[..num_valid];
        let num_classes = self.num_classes;
        assert!(labels.iter().all(|label| (*label as usize) < num_classes), "a label beyond {num_classes} classes");
        self.slots[slot as usize].batch = Some(batch);
        Ok(())
    }

    fn reclaim(&mut self, slot: Slot) -> Result<Option<Batch>> {
        Ok(self.slots[slot as usize].batch.take())
    }

    fn run(&mut self, slot: Slot, pass: Pass, scalars: StepScalars) -> Result<()> {
        let step = self.begin(slot, pass, scalars);
        // The whole step runs on the pool: one hand-over, instead of one for each operation.
        let pool = self.workspace.workers.pool();
        pool.install(|| calls(self.blocks.len(), pass).try_for_each(|call| self.call(&step, call)))
    }

    fn run_timed(&mut self, slot: Slot, scalars: StepScalars) -> Result<Vec<(Call, f64)>> {
        let step = self.begin(slot, Pass::Train, scalars);
        let pool = self.workspace.workers.pool();
        let calls = calls(self.blocks.len(), Pass::Train);
        let timed = |call| {
            let begun = Instant::now();
            self.call(&step, call)?;
            Ok((call, begun.elapsed().as_secs_f64()))
        };
        pool.install(|| calls.map(timed).collect())
    }

    fn statistics(&mut self, slot: Slot) -> Result<Statistics> {
        Ok(self.slots[slot as usize].statistics)
    }

    fn probabilities(&mut self, slot: Slot) -> Result<&[f32]> {
        let slot = &self.slots[slot as usize];
        Ok(&slot.probabilities[..slot.num_probabilities])
    }

    fn output(&mut self, layer: usize) -> Result<Vec<f32>> {
        Ok(self.outputs[layer].clone())
    }

    fn gradients(&mut self, parameters: &mut Parameters) -> Result<()> {
        parameters.values.copy_from_slice(&self.gradients);
        Ok(())
    }
}

impl Layers for CpuBackend {
    type Step = Step;

    fn forward(&mut self, step: &Step, layer: usize) -> Result<()> {
        let &Step { slot, pass, num_valid, .. } = step;
        let draw = self.dropout_draw(step, layer);
        let (before, after) = self.outputs.split_at_mut(layer);
        let valid = |values: &[f32]| values.len() / self.options.batch_size * num_valid;
        let input = match before.last() {
            Some(output) => &output[..valid(output)],
            None => self.slots[slot as usize].input(),
        };
        let end = valid(&after[0]);
        let output = &mut after[0][..end];
        let place = &self.layout.layers()[layer];
        let parameters =
            Tensors { weights: &self.values[place.weight.clone()], biases: &self.values[place.bias.clone()] };
        match &mut self.blocks[layer] {
            Block::Conv(conv) => conv.forward(&mut self.workspace, pass, num_valid, parameters, input, output),
            Block::Dense(dense) => dense.forward(&mut self.workspace, pass, &draw, parameters, input, output),
        }
        Ok(())
    }

    fn loss(&mut self, step: &Step) -> Result<()> {
        let &Step { slot, pass, num_valid, .. } = step;
        let slot = &mut self.slots[slot as usize];
        let probabilities = match pass {
            Pass::Train => &mut self.output_gradients[(self.blocks.len() - 1) % 2],
            Pass::Eval => &mut slot.probabilities,
        };
        let labels = &slot.batch.as_ref().expect("a batch was uploaded to the slot").labels[..num_valid];
        let losses = &mut self.sample_losses[..num_valid];
        let smoothing = self.options.label_smoothing;
        let logits = self.outputs[self.blocks.len() - 1].par_chunks_exact(self.num_classes);
        let samples = logits.zip(labels).zip(probabilities.par_chunks_exact_mut(self.num_classes));
        samples.zip(&mut *losses).for_each(|(((logits, label), probabilities), loss)| {
            *loss = softmax_cross_entropy(logits, *label as usize, probabilities);
            if pass == Pass::Train {
                softmax_cross_entropy_backward(*label as usize, num_valid, smoothing, probabilities);
            }
        });
        slot.statistics = Statistics {
            loss_sum: losses.iter().map(|sample| sample.loss).sum(),
            num_top1: losses.iter().filter(|sample| sample.rank < 1).count() as u64,
            num_top5: losses.iter().filter(|sample| sample.rank < 5).count() as u64,
            num_samples: num_valid as u64,
        };
        if pass == Pass::Eval {
            slot.num_probabilities = num_valid * self.num_classes;
        }
        Ok(())
    }

    fn backward(&mut self, step: &Step, layer: usize) -> Result<()> {
        let &Step { slot, num_valid, .. } = step;
        let draw = self.dropout_draw(step, layer);
        let valid = |values: &[f32]| values.len() / self.options.batch_size * num_valid;
        let (even, odd) = self.output_gradients.split_at_mut(1);
        let (own, other) =
            if layer.is_multiple_of(2) { (&mut even[0], &mut odd[0]) } else { (&mut odd[0], &mut even[0]) };
        let output = &self.outputs[layer][..valid(&self.outputs[layer])];
        let (input, input_gradient) = match layer.checked_sub(1) {
            Some(before) => {
                let input = &self.outputs[before][..valid(&self.outputs[before])];
                (input, Some(&mut other[..input.len()]))
            }
            None => (self.slots[slot as usize].input(), None),
        };
        let activations = Activations { input, output, output_gradient: &mut own[..output.len()], input_gradient };
        let place = &self.layout.layers()[layer];
        let weights = &self.values[place.weight.clone()];
        let gradients = &mut self.gradients[place.all()];
        let (weight_gradients, bias_gradients) = gradients.split_at_mut(place.weight.len());
        let gradients = Tensors { weights: weight_gradients, biases: bias_gradients };
        match &mut self.blocks[layer] {
            Block::Conv(conv) => conv.backward(&mut self.workspace, num_valid, weights, activations, gradients),
            Block::Dense(dense) => dense.backward(&mut self.workspace, &draw, weights, activations, gradients),
        }
        Ok(())
    }

    fn update(&mut self, step: &Step, layer: usize) -> Result<()> {
        let place = &self.layout.layers()[layer];
        let weights = Update::new(&self.options.update, step.scalars.learning_rate);
        for (update, range) in [(weights, &place.weight), (weights.of_biases(&place.bias_rule), &place.bias)] {
            let at = || range.clone();
            update.update(&mut self.values[at()], &mut self.velocities[at()], &self.gradients[at()]);
        }
        Ok(())
    }
}
