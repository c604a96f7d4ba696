//! The CUDA backend: it trains on one batch while the next one crosses the bus.
//!
//! In: host batches in f16. Out: as every backend. All memory is allocated when it is made; it owns everything on the
//! device.
//!
//! Three streams: `copy` brings batches to two slots, `compute` runs the steps, `side` updates a layer's weights while
//! the layers before it still go backward. What one stream hands to another is ordered by events alone:
//!
//! | Event | Recorded on | Waited for by |
//! |---|---|---|
//! | a slot's `uploaded` | `copy`, after a batch's copies | `compute` before the step; the host before it leaves |
//! | a slot's `finished` | `compute`, after its statistics | `copy` before the next batch; the host before it reads |
//! | a layer's `gradients_ready` | `compute`, after its backward pass | `side` before its update |
//! | `updated` | `side`, after the last update | `compute` at the end of the step |
//!
//! A step runs as it is the first time, is captured into a graph the second time, and replayed from then on: one graph
//! a slot and pass.
#![expect(unsafe_code, reason = "calls to CUDA's libraries; each has its argument")]

pub mod ceilings;
pub(crate) mod driver;
mod gpu;
pub mod kernels;
pub mod libraries;
mod options;
pub(crate) mod real;
pub(crate) mod step;

use std::rc::Rc;
use std::sync::Arc;

pub use self::driver::{Capability, Context};
use self::driver::{Capture, Event, Graph, Module, Priority, Stream, Timing};
pub use self::gpu::Gpu;
use self::kernels::{Kernels, source};
pub use self::libraries::precision::Precision;
use self::libraries::tuning::Tuning;
use self::libraries::{Versions, compile};
pub use self::options::{CudaOptions, Graphs};
pub use self::real::Real;
use self::step::block::Block;
use self::step::clock::DeviceClock;
use self::step::dense_block::DropoutDraw;
use self::step::limits;
use self::step::memory::Memory;
use self::step::slot::DeviceSlot;
use self::step::weights::Weights;
use self::step::workspace::{Activations, Workspace};
use crate::backend::step::{Layers, calls};
use crate::backend::{Backend, BackendOptions, Call, Device, DeviceTimes, Pass, Slot, Statistics, StepScalars};
use crate::error::Result;
use crate::input::{Batch, Dtype};
use crate::model::{Network, Parameters};

/// AlexNet on one GPU. Activations, working weights and gradients are of type `R`.
#[derive(Debug)]
pub struct CudaBackend<R: Real> {
    device: Device,
    options: BackendOptions,
    graphs: Graphs,
    num_classes: usize,
    /// By slot and pass.
    recordings: [[Recording; 2]; 2],
    kernels: Kernels<R>,
    blocks: Vec<Block<R>>,
    weights: Weights<R>,
    memory: Memory<R>,
    slots: [DeviceSlot; 2],
    events: StepEvents,
    clock: DeviceClock,
    streams: Rc<Streams>,
    context: Arc<Context>,
}

#[derive(Debug)]
struct Streams {
    copy: Stream,
    compute: Stream,
    side: Stream,
}

#[derive(Debug)]
struct StepEvents {
    gradients_ready: Vec<Event>,
    updated: Event,
}

/// A step that is being enqueued.
pub(super) struct Step {
    slot: Slot,
    pass: Pass,
    updates: Updates,
}

/// Where updates are enqueued.
enum Updates {
    /// On the side stream, under the backward passes of the layers before.
    Beside,
    /// On the compute stream, one after another with everything else.
    InTurn,
}

/// How far a step's recording is.
#[derive(Debug)]
enum Recording {
    /// It never ran: libraries may still allocate.
    New,
    WarmedUp,
    Recorded(Graph),
}

impl<R: Real> CudaBackend<R> {
    /// Takes the GPU's memory for the network and batches of `options.batch_size`. The libraries have been opened.
    pub fn new(
        context: &Arc<Context>,
        versions: Versions,
        network: &Network,
        options: BackendOptions,
        cuda: &CudaOptions,
        precision: Precision,
    ) -> Result<Self> {
        assert_eq!(precision == Precision::Bf16, !R::IS_MASTER, "{precision:?} and the type of activations");
        limits::check(network)?;
        let streams = Rc::new(Streams {
            copy: Stream::new(context, Priority::Normal)?,
            compute: Stream::new(context, Priority::High)?,
            side: Stream::new(context, Priority::Normal)?,
        });
        let kernels = Kernels::new(&module::<R>(context, versions)?)?;
        let mut weights = Weights::new(context, network)?;
        let setting = format!("{}, cuDNN {}, {}", context.name(), versions.cudnn, precision.name());
        let mut tuning = Tuning::open(cuda.search, cuda.repeatable, setting)?;
        let blocks = Block::all(context, &streams.compute, network, &options, precision, &mut weights, &mut tuning)?;
        tuning.remember()?;
        let memory = Memory::new(context, network, options.batch_size, &blocks)?;
        let slot = || DeviceSlot::new(context, network, &options);
        let slots = [slot()?, slot()?];
        let event = || Event::new(context, Timing::No);
        let events = StepEvents {
            gradients_ready: network.layers.iter().map(|_| event()).collect::<Result<_>>()?,
            updated: event()?,
        };
        let memory_bytes = weights.num_bytes()
            + memory.num_bytes()
            + slots.iter().map(DeviceSlot::num_bytes).sum::<u64>()
            + blocks.iter().map(Block::num_bytes).sum::<u64>();
        let capability = context.capability();
        let name =
            format!("{} (cuda:{}, sm_{}{})", context.name(), context.ordinal(), capability.major, capability.minor);
        let recording = || [Recording::New, Recording::New];
        Ok(Self {
            device: Device { name, precision: precision.name(), memory_bytes },
            options,
            graphs: cuda.graphs,
            num_classes: network.num_classes,
            recordings: [recording(), recording()],
            kernels,
            blocks,
            weights,
            memory,
            slots,
            events,
            clock: DeviceClock::new(context, &streams.compute)?,
            streams,
            context: Arc::clone(context),
        })
    }

    /// What is enqueued on the compute stream from now on is the step on this slot's batch.
    fn begin(&mut self, slot: Slot, pass: Pass, scalars: StepScalars) -> Result<Step> {
        let (compute, own) = (&self.streams.compute, &mut self.slots[slot as usize]);
        own.begin(compute)?;
        let StepScalars { step, learning_rate } = scalars;
        let num_valid = own.num_valid();
        self.kernels.begin_step(compute, &mut own.scalars.all_mut(), step, learning_rate, num_valid)?;
        Ok(Step { slot, pass, updates: Updates::Beside })
    }

    /// Enqueues a step on the compute stream: as it is, as a recording, or for the first time as both.
    fn enqueue(&mut self, step: &Step) -> Result<()> {
        let streams = Rc::clone(&self.streams);
        let (slot, pass) = (step.slot as usize, step.pass as usize);
        match &self.recordings[slot][pass] {
            Recording::Recorded(graph) => graph.launch(&streams.compute),
            Recording::WarmedUp if self.graphs == Graphs::Used => {
                let capture = Capture::begin(&streams.compute)?;
                self.enqueue_calls(step)?;
                let graph = capture.finish()?;
                graph.launch(&streams.compute)?;
                self.recordings[slot][pass] = Recording::Recorded(graph);
                Ok(())
            }
            Recording::New | Recording::WarmedUp => {
                self.enqueue_calls(step)?;
                self.recordings[slot][pass] = Recording::WarmedUp;
                Ok(())
            }
        }
    }

    fn enqueue_calls(&mut self, step: &Step) -> Result<()> {
        calls(self.blocks.len(), step.pass).try_for_each(|call| self.call(step, call))?;
        if step.pass == Pass::Train {
            self.streams.side.record(&self.events.updated)?;
            self.streams.compute.wait(&self.events.updated)?;
        }
        Ok(())
    }

    /// Enqueues a training step whose updates follow the backward passes on the compute stream, with an event before it
    /// and after each call.
    fn enqueue_marked(&mut self, step: &Step) -> Result<(Event, Vec<(Call, Event)>)> {
        let (streams, context) = (Rc::clone(&self.streams), Arc::clone(&self.context));
        let calls = calls(self.blocks.len(), step.pass);
        let mark = || {
            let event = Event::new(&context, Timing::Yes)?;
            streams.compute.record(&event)?;
            Ok(event)
        };
        let begun = mark()?;
        let marked = |call| {
            self.call(step, call)?;
            Ok((call, mark()?))
        };
        Ok((begun, calls.map(marked).collect::<Result<_>>()?))
    }
}

/// The kernels for the context's GPU.
fn module<R: Real>(context: &Arc<Context>, versions: Versions) -> Result<Module> {
    let options = source::options::<R>(context.capability());
    Module::load(context, &compile::cubin(source::SOURCE, &options, versions.nvrtc)?)
}

impl<R: Real> Backend for CudaBackend<R> {
    fn device(&self) -> &Device {
        &self.device
    }

    fn input_dtype(&self) -> Dtype {
        Dtype::F16
    }

    fn load(&mut self, parameters: &Parameters) -> Result<()> {
        self.context.synchronize()?;
        self.weights.load(&self.kernels, &self.streams.compute, parameters)
    }

    fn store(&mut self, parameters: &mut Parameters) -> Result<()> {
        self.context.synchronize()?;
        self.weights.store(parameters)
    }

    fn upload(&mut self, slot: Slot, batch: Batch) -> Result<()> {
        let labels = &batch.labels[..batch.num_valid];
        let num_classes = self.num_classes;
        assert!(labels.iter().all(|label| (*label as usize) < num_classes), "a label beyond {num_classes} classes");
        self.slots[slot as usize].upload(&self.streams.copy, &self.clock, batch)
    }

    fn reclaim(&mut self, slot: Slot) -> Result<Option<Batch>> {
        self.slots[slot as usize].reclaim()
    }

    fn run(&mut self, slot: Slot, pass: Pass, scalars: StepScalars) -> Result<()> {
        let step = self.begin(slot, pass, scalars)?;
        self.enqueue(&step)?;
        self.slots[slot as usize].finish(&self.streams.compute)
    }

    fn run_timed(&mut self, slot: Slot, scalars: StepScalars) -> Result<Vec<(Call, f64)>> {
        let step = Step { updates: Updates::InTurn, ..self.begin(slot, Pass::Train, scalars)? };
        // A step ahead gives the host the time to be ahead: else its launches would be what is measured.
        self.enqueue_calls(&step)?;
        let (mut last, calls) = self.enqueue_marked(&step)?;
        self.slots[slot as usize].finish(&self.streams.compute)?;
        self.context.synchronize()?;
        let mut timed = Vec::with_capacity(calls.len());
        for (call, ended) in calls {
            timed.push((call, ended.seconds_since(&last)?));
            last = ended;
        }
        Ok(timed)
    }

    fn statistics(&mut self, slot: Slot) -> Result<Statistics> {
        self.slots[slot as usize].statistics()
    }

    fn device_times(&mut self, slot: Slot) -> Result<Option<DeviceTimes>> {
        self.slots[slot as usize].times(&self.clock).map(Some)
    }

    fn probabilities(&mut self, slot: Slot) -> Result<&[f32]> {
        self.slots[slot as usize].probabilities(self.num_classes)
    }

    fn output(&mut self, layer: usize) -> Result<Vec<f32>> {
        self.context.synchronize()?;
        let channels = match &self.blocks[layer] {
            Block::Conv(conv) => Some(conv.channels()),
            Block::Dense(_) => None,
        };
        self.memory.read_output(layer, channels, self.options.batch_size, self.num_classes)
    }

    fn gradients(&mut self, parameters: &mut Parameters) -> Result<()> {
        self.context.synchronize()?;
        self.weights.store_gradients(parameters)
    }
}

impl<R: Real> Layers for CudaBackend<R> {
    type Step = Step;

    fn forward(&mut self, step: &Step, layer: usize) -> Result<()> {
        let (compute, slot) = (&self.streams.compute, &self.slots[step.slot as usize]);
        let Memory { arranged, outputs, logits, products, bias_partials, .. } = &mut self.memory;
        let workspace = Workspace { kernels: &self.kernels, stream: compute, products, bias_partials };
        if layer == 0 {
            arranged.arrange(&self.kernels, compute, slot.input.all(), slot.scalars.all())?;
        }
        let (before, after) = outputs.split_at_mut(layer);
        let input = before.last().unwrap_or(&arranged.values).all();
        let weights = self.weights.layer(layer);
        let draw = DropoutDraw { seed: self.options.seed, layer, scalars: slot.scalars.all() };
        match (&mut self.blocks[layer], after.first_mut()) {
            (Block::Conv(conv), Some(output)) => conv.forward(workspace, &weights, input, &mut output.all_mut()),
            (Block::Dense(dense), Some(output)) => {
                dense.forward_hidden(workspace, step.pass, draw, &weights, input, &mut output.all_mut())
            }
            (Block::Dense(dense), None) => {
                dense.forward_product(workspace, step.pass, draw, &weights, input, &mut logits.all_mut())
            }
            (Block::Conv(_), None) => unreachable!("the last layer is dense"),
        }
    }

    fn loss(&mut self, step: &Step) -> Result<()> {
        let (compute, slot) = (&self.streams.compute, &mut self.slots[step.slot as usize]);
        let Memory { logits, output_gradients, losses, .. } = &mut self.memory;
        let mut gradient = output_gradients[(self.blocks.len() - 1) % 2].part_mut(0..logits.len());
        let mut probabilities = slot.probabilities.all_mut();
        let (gradient, probabilities) = match step.pass {
            Pass::Train => (Some(&mut gradient), None),
            Pass::Eval => (None, Some(&mut probabilities)),
        };
        let (batch_size, num_classes) = (self.options.batch_size, self.num_classes);
        self.kernels.softmax_cross_entropy(
            compute,
            logits.all(),
            slot.labels.all(),
            gradient,
            probabilities,
            &mut losses.all_mut(),
            slot.scalars.all(),
            batch_size,
            num_classes,
            logits.len() / batch_size,
        )?;
        let statistics = &mut slot.statistics.all_mut();
        self.kernels.collect_statistics(compute, losses.all(), slot.scalars.all(), statistics)
    }

    fn backward(&mut self, step: &Step, layer: usize) -> Result<()> {
        let scalars = self.slots[step.slot as usize].scalars.all();
        let draw = DropoutDraw { seed: self.options.seed, layer, scalars };
        let Memory { arranged, outputs, logits, products, bias_partials, output_gradients, .. } = &mut self.memory;
        let stream = &self.streams.compute;
        let workspace = Workspace { kernels: &self.kernels, stream, products, bias_partials };
        let input = match layer.checked_sub(1) {
            Some(before) => outputs[before].all(),
            None => arranged.values.all(),
        };
        let (output, num_outputs) = match outputs.get(layer) {
            Some(output) => (output.all(), output.len()),
            // fc8 does not read its output.
            None => (input, logits.len()),
        };
        let [even, odd] = output_gradients;
        let (own, other) = if layer.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        let activations = Activations {
            input,
            output,
            output_gradient: own.part_mut(0..num_outputs),
            input_gradient: (layer > 0).then(|| other.part_mut(0..input.len())),
        };
        let mut weights = self.weights.layer(layer);
        match &mut self.blocks[layer] {
            Block::Conv(conv) => conv.backward(workspace, &mut weights, activations),
            Block::Dense(dense) => dense.backward(workspace, draw, &mut weights, activations),
        }
    }

    fn update(&mut self, step: &Step, layer: usize) -> Result<()> {
        let Streams { compute, side, .. } = &*self.streams;
        let scalars = self.slots[step.slot as usize].scalars.all();
        let stream = match step.updates {
            Updates::Beside => {
                let ready = &self.events.gradients_ready[layer];
                compute.record(ready)?;
                side.wait(ready)?;
                side
            }
            Updates::InTurn => compute,
        };
        self.weights.update(&self.kernels, stream, layer, scalars, &self.options)
    }
}

impl<R: Real> Drop for CudaBackend<R> {
    fn drop(&mut self) {
        // Memory must outlast the work that uses it.
        if self.context.synchronize().is_err() {
            // One stream may be unable, as after a recording that failed; the others still have to end.
            let Streams { copy, compute, side } = &*self.streams;
            for stream in [copy, compute, side] {
                stream.finish();
            }
        }
    }
}
