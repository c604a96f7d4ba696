//! Determinism: runs that must be bit-identical, and are.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use xxhash_rust::xxh3::Xxh3;

use super::finding::Task;
use super::gpu::{self, PRECISIONS};
use super::options::Extent;
use super::outcome::Found;
use alexnet::backend::cuda::{Gpu, Graphs, Precision};
use alexnet::error::Result;
use alexnet::input::PipelineOptions;
use alexnet::trace::Tracer;
use alexnet::train::experiment::Experiment;
use alexnet::train::feeder::Feeder;
use alexnet::train::stepper::{Next, Stepper};

/// How a run is made, in what must not matter.
#[derive(Clone, Copy)]
struct Manner {
    graphs: Graphs,
    workers: usize,
    buffers: usize,
}

const MANNER: Manner = Manner { graphs: Graphs::Used, workers: 4, buffers: PipelineOptions::DEFAULT_BUFFERS };
const LEARNING_RATE: f64 = 0.01;

/// Trains again and again; everything a run ends with is compared.
pub fn tasks<'a>(gpu: &'a Gpu, shards: &'a Path, extent: &'a Extent) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    for precision in PRECISIONS {
        let first = Rc::new(RefCell::new(None));
        let mut tried = |what: &str, manner| {
            let first = Rc::clone(&first);
            tasks.push(Task::check(format!("determinism: {}, {what}", precision.name()), move || {
                let experiment = gpu::experiment(gpu, Some(shards), extent)?;
                let train = |manner| trained(gpu, &experiment, extent.determinism_steps, precision, manner);
                if first.borrow().is_none() {
                    first.replace(Some(train(MANNER)?));
                }
                let other = train(manner)?;
                Ok(same(first.borrow().as_ref().expect("it has run"), &other))
            }));
        };
        tried("two runs", MANNER);
        if precision == Precision::Bf16 {
            tried("recorded steps and launched ones", Manner { graphs: Graphs::Unused, ..MANNER });
            tried("other numbers of workers and buffers", Manner { workers: 1, buffers: 3, ..MANNER });
        }
    }
    tasks
}

/// What a run ends with.
#[derive(PartialEq)]
struct Trained {
    losses: Vec<f64>,
    /// Of all weights and velocities.
    fingerprint: u128,
    is_finite: bool,
}

fn same(one: &Trained, other: &Trained) -> Found {
    let steps = one.losses.len();
    let differs = one.losses.iter().zip(&other.losses).position(|(one, other)| one.to_bits() != other.to_bits());
    let what = match differs {
        Some(step) => {
            format!("the loss of step {step} differs: {} and {}", one.losses[step], other.losses[step])
        }
        None if one.fingerprint != other.fingerprint => {
            format!("after {steps} steps of equal losses the weights differ")
        }
        None if !one.is_finite => format!("after {steps} steps there are weights that are no numbers"),
        None => format!("{steps} steps: losses, weights and velocities are bit-identical ({:032x})", one.fingerprint),
    };
    if one == other && one.is_finite { Found::passed(what) } else { Found::failed(what) }
}

fn trained(gpu: &Gpu, experiment: &Experiment, steps: u64, precision: Precision, manner: Manner) -> Result<Trained> {
    let mut backend = gpu::backend(gpu, &experiment.network, experiment.backend_options(), manner.graphs, precision)?;
    backend.load(&experiment.parameters)?;
    let options = PipelineOptions {
        buffers: manner.buffers,
        ..PipelineOptions::new(backend.input_dtype(), manner.workers, 0..steps)
    };
    let pipeline = experiment.source(options, Tracer::default())?;
    let mut stepper = Stepper::new(backend, Feeder::new(pipeline), Tracer::default());
    let mut losses = Vec::with_capacity(steps as usize);
    for step in 0..steps {
        let next = if step + 1 < steps { Next::Feed } else { Next::Nothing };
        let settled = stepper.step(step, next, LEARNING_RATE)?;
        losses.extend(settled.map(|settled| settled.observation.loss));
    }
    losses.extend(stepper.settle()?.map(|settled| settled.observation.loss));
    let mut backend = stepper.into_backend()?;
    let mut parameters = experiment.parameters.clone();
    backend.store(&mut parameters)?;
    let mut hash = Xxh3::new();
    let kinds = [&parameters.values, &parameters.velocities];
    kinds.iter().for_each(|values| hash.update(bytemuck::cast_slice(values)));
    let is_finite = kinds.iter().all(|values| values.iter().all(|value| value.is_finite()));
    Ok(Trained { losses, fingerprint: hash.digest128(), is_finite })
}
