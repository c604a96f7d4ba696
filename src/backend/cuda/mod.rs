//! The CUDA backend: it trains on one batch while the next one crosses the bus.
//!
//! In: host batches in f16. Out: as every backend. All memory is allocated when it is made; it owns everything on the
//! device.
//!
//! Four streams. `copy` brings batches to two slots and arranges them for the first layer. `compute` runs a step's
//! chain: forward, loss, and the gradients of the layers' inputs. What nothing in the chain needs runs beside it: on
//! `gradients` the gradients of weights, on `updates` the updates of layers while those before them still go backward.
//! Where blocks of several are ready, those of the chain go first, then those of `gradients`. What one stream hands to
//! another is ordered by events alone:
//!
//! | Event | Recorded on | Waited for by |
//! |---|---|---|
//! | a slot's `uploaded` | `copy`, after a batch's copies | the host before the batch leaves |
//! | a slot's `arranged_at` | `copy`, after the arranging | `compute` before the step |
//! | a slot's `finished` | `compute`, at the end of the step | `copy` before the next batch; the host before it reads |
//! | `losses_ready` | `compute`, after the loss | `gradients` before the statistics |
//! | a hidden layer's `tail_done` | `compute`, after its tail | `gradients` before its weight gradient |
//! | a layer's `weights_read` | `compute`, after its input gradient | `updates` before its update |
//! | a layer's `gradient_done` | `gradients`, after its weight gradient | `updates` before its update |
//! | `beside_done` | the stream beside that ends last | `compute` at the end of the step |
//!
//! A layer's tail is what follows its product: bias, ReLU, LRN, pooling, dropout.
//!
//! A step runs as it is the first time, is captured into a graph the second time, and replayed from then on: one graph
//! a slot and pass.
#![expect(unsafe_code, reason = "calls to CUDA's libraries; each has its argument")]

pub mod alone;
pub mod ceilings;
pub(crate) mod driver;
mod gpu;
pub mod kernels;
pub mod libraries;
mod options;
pub(crate) mod real;
mod report;
pub(crate) mod step;

use std::rc::Rc;
use std::sync::Arc;

use self::driver::{Buffer, Capture, Event, Graph, Module, Priority, Stream, Timing};
pub use self::driver::{Capability, Context, GraphKernel};
pub use self::gpu::Gpu;
use self::kernels::{Kernels, source};
pub use self::libraries::precision::Precision;
use self::libraries::tuning::{Choice, Tuning};
use self::libraries::{Versions, compile};
pub use self::options::{CudaOptions, Graphs, Lanes, UpdateWidth};
pub use self::real::Real;
pub use self::report::WhatRuns;
use self::step::block::Block;
use self::step::clock::DeviceClock;
use self::step::dense_block::DropoutDraw;
use self::step::lane::Lane;
use self::step::limits;
use self::step::memory::Memory;
use self::step::slot::DeviceSlot;
use self::step::weights::Weights;
use crate::backend::step::{Layers, calls};
use crate::backend::{Backend, BackendOptions, Call, Device, DeviceTimes, Pass, Slot, Statistics, StepScalars};
use crate::error::Result;
use crate::input::{Batch, Dtype};
use crate::model::{Network, Parameters, network};

/// AlexNet on one GPU. Activations, working weights and gradients are of type `R`.
#[derive(Debug)]
pub struct CudaBackend<R: Real> {
    device: Device,
    options: BackendOptions,
    cuda: CudaOptions,
    num_classes: usize,
    /// By slot and pass.
    recordings: [[Recording; 2]; 2],
    /// The libraries' algorithms.
    choices: Vec<Choice>,
    kernels: Kernels<R>,
    blocks: Vec<Block<R>>,
    weights: Weights<R>,
    memory: Memory<R>,
    slots: [DeviceSlot<R>; 2],
    events: StepEvents,
    clock: DeviceClock,
    streams: Rc<Streams>,
    context: Arc<Context>,
}

#[derive(Debug)]
struct Streams {
    copy: Stream,
    compute: Stream,
    gradients: Stream,
    updates: Stream,
}

/// As the table above has them, the layers' by layer.
#[derive(Debug)]
struct StepEvents {
    losses_ready: Event,
    tail_done: Vec<Event>,
    weights_read: Vec<Event>,
    gradient_done: Vec<Event>,
    beside_done: Event,
}

/// A step that is being enqueued.
pub(super) struct Step {
    slot: Slot,
    pass: Pass,
    lanes: Lanes,
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
            copy: Stream::new(context, Priority::Last)?,
            compute: Stream::new(context, Priority::First)?,
            gradients: Stream::new(context, Priority::Second)?,
            updates: Stream::new(context, Priority::Last)?,
        });
        let kernels = Kernels::new(&module::<R>(context, versions)?)?;
        let mut weights = Weights::new(context, network)?;
        let setting = format!("{}, {versions}, {}", context.name(), precision.name());
        let mut tuning = Tuning::open(cuda.search, cuda.repeatable, setting)?;
        let Streams { compute, gradients, .. } = &*streams;
        let blocks = Block::all(context, compute, gradients, network, &options, precision, &mut weights, &mut tuning)?;
        tuning.remember()?;
        let memory = Memory::new(context, network, options.batch_size, &blocks)?;
        let network::Block::Conv(first) = &network.layers[0].block else { unreachable!("checked above") };
        let slot = || DeviceSlot::new(context, network, first, &options);
        let slots = [slot()?, slot()?];
        let event = || Event::new(context, Timing::No);
        let by_layer = || network.layers.iter().map(|_| event()).collect::<Result<_>>();
        let events = StepEvents {
            losses_ready: event()?,
            tail_done: by_layer()?,
            weights_read: by_layer()?,
            gradient_done: by_layer()?,
            beside_done: event()?,
        };
        let memory_bytes = weights.num_bytes()
            + memory.num_bytes()
            + slots.iter().map(DeviceSlot::num_bytes).sum::<u64>()
            + blocks.iter().map(Block::num_bytes).sum::<u64>();
        // The buffers' zeros may be under way, and no stream waits for them.
        context.synchronize()?;
        let capability = context.capability();
        let name =
            format!("{} (cuda:{}, sm_{}{})", context.name(), context.ordinal(), capability.major, capability.minor);
        let recording = || [Recording::New, Recording::New];
        Ok(Self {
            device: Device {
                name,
                precision: precision.name(),
                memory_bytes,
                pci_bus_id: Some(context.pci_bus_id().to_owned()),
            },
            options,
            cuda: *cuda,
            num_classes: network.num_classes,
            recordings: [recording(), recording()],
            choices: tuning.into_choices(),
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

    /// What is enqueued from now on is the step on this slot's batch.
    fn begin(&mut self, slot: Slot, pass: Pass, scalars: StepScalars) -> Result<Step> {
        let Streams { copy, compute, .. } = &*self.streams;
        self.slots[slot as usize].begin(&self.kernels, copy, compute, scalars)?;
        Ok(Step { slot, pass, lanes: self.cuda.lanes })
    }

    /// Enqueues a step: as it is, as a recording, or for the first time as both.
    fn enqueue(&mut self, step: &Step) -> Result<()> {
        let streams = Rc::clone(&self.streams);
        let (slot, pass) = (step.slot as usize, step.pass as usize);
        match &self.recordings[slot][pass] {
            Recording::Recorded(graph) => graph.launch(&streams.compute),
            Recording::WarmedUp if self.cuda.graphs == Graphs::Used => {
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
        let last = match step.pass {
            // It has waited for all that `gradients` did.
            Pass::Train => &self.streams.updates,
            Pass::Eval => &self.streams.gradients,
        };
        self.join(last)
    }

    /// What is enqueued on `compute` from now on comes after what was enqueued on `stream`.
    fn join(&self, stream: &Stream) -> Result<()> {
        stream.record(&self.events.beside_done)?;
        self.streams.compute.wait(&self.events.beside_done)
    }

    /// Enqueues a step of which everything runs in turn, with an event before it and after each call.
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
        let step = Step { lanes: Lanes::InTurn, ..self.begin(slot, Pass::Train, scalars)? };
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
        let slot = &self.slots[step.slot as usize];
        let Memory { outputs, logits, products, .. } = &mut self.memory;
        let lane = Lane { kernels: &self.kernels, stream: &self.streams.compute, products };
        let (before, after) = outputs.split_at_mut(layer);
        let input = before.last().unwrap_or(&slot.arranged.values).all();
        let weights = self.weights.layer(layer);
        let draw = DropoutDraw { seed: self.options.seed, layer, scalars: slot.scalars.all() };
        match (&mut self.blocks[layer], after.first_mut()) {
            (Block::Conv(conv), Some(output)) => conv.forward(lane, &weights, input, &mut output.all_mut()),
            (Block::Dense(dense), Some(output)) => {
                dense.forward_hidden(lane, step.pass, draw, &weights, input, &mut output.all_mut())
            }
            (Block::Dense(dense), None) => {
                dense.forward_product(lane, step.pass, draw, &weights, input, &mut logits.all_mut())
            }
            (Block::Conv(_), None) => unreachable!("the last layer is dense"),
        }
    }

    fn loss(&mut self, step: &Step) -> Result<()> {
        let Streams { compute, gradients, .. } = &*self.streams;
        let slot = &mut self.slots[step.slot as usize];
        let Memory { logits, output_gradients, losses, .. } = &mut self.memory;
        let mut gradient = output_gradients.last_mut().expect("a network has layers").all_mut();
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
            self.options.label_smoothing,
            batch_size,
            num_classes,
            logits.len() / batch_size,
        )?;
        compute.record(&self.events.losses_ready)?;
        gradients.wait(&self.events.losses_ready)?;
        let statistics = &mut slot.statistics.on_device();
        self.kernels.collect_statistics(gradients, losses.all(), slot.scalars.all(), statistics)
    }

    fn backward(&mut self, step: &Step, layer: usize) -> Result<()> {
        let (Streams { compute, gradients, .. }, slot) = (&*self.streams, &self.slots[step.slot as usize]);
        let draw = DropoutDraw { seed: self.options.seed, layer, scalars: slot.scalars.all() };
        let Memory { outputs, products, gradient_products, output_gradients, .. } = &mut self.memory;
        let kernels = &self.kernels;
        let input = layer.checked_sub(1).map_or(&slot.arranged.values, |before| &outputs[before]).all();
        let output = outputs.get(layer).map(Buffer::all);
        let (before, own) = output_gradients.split_at_mut(layer);
        let (block, mut weights) = (&mut self.blocks[layer], self.weights.layer(layer));
        // Behind the last layer's product there is only the loss, for which `gradients` has waited.
        if let Some(output) = output {
            let chain = Lane { kernels, stream: compute, products };
            block.tail_backward(chain, &mut weights, output, &mut own[0].all_mut())?;
            compute.record(&self.events.tail_done[layer])?;
            gradients.wait(&self.events.tail_done[layer])?;
        }
        let gradient = own[0].all();
        let beside = Lane { kernels, stream: gradients, products: gradient_products };
        block.weight_gradient(beside, &mut weights, input, gradient)?;
        gradients.record(&self.events.gradient_done[layer])?;

        if let Some(before) = before.last_mut() {
            let chain = Lane { kernels, stream: compute, products };
            block.input_gradient(chain, draw, &weights, gradient, &mut before.all_mut())?;
            compute.record(&self.events.weights_read[layer])?;
        }
        match step.lanes {
            Lanes::Beside => Ok(()),
            Lanes::InTurn => compute.wait(&self.events.gradient_done[layer]),
        }
    }

    fn update(&mut self, step: &Step, layer: usize) -> Result<()> {
        let Streams { updates, .. } = &*self.streams;
        let scalars = self.slots[step.slot as usize].scalars.all();
        updates.wait(&self.events.gradient_done[layer])?;
        if layer > 0 {
            updates.wait(&self.events.weights_read[layer])?;
        }
        self.weights.update(&self.kernels, updates, layer, scalars, &self.options, self.cuda.updates)?;
        match step.lanes {
            Lanes::Beside => Ok(()),
            Lanes::InTurn => self.join(updates),
        }
    }
}

impl<R: Real> Drop for CudaBackend<R> {
    fn drop(&mut self) {
        // Memory must outlast the work that uses it.
        if self.context.synchronize().is_err() {
            // One stream may be unable, as after a recording that failed; the others still have to end.
            let Streams { copy, compute, gradients, updates } = &*self.streams;
            for stream in [copy, compute, gradients, updates] {
                stream.finish();
            }
        }
    }
}
