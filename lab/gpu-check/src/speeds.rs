//! Speeds: the card's ceilings, a step call by call, steps by batch size, and the stages of training. None of them
//! fails a check.

use std::path::Path;

use super::gpu::{backend, bench_options, experiment};
use super::options::Extent;
use super::outcome::with_causes;
use super::roofline::{Work, name, work};
use alexnet::backend::calls as calls_of;
use alexnet::backend::cuda::ceilings::Ceilings;
use alexnet::backend::cuda::{Gpu, Graphs, Precision};
use alexnet::backend::{Call, Pass, Slot, StepScalars};
use alexnet::bench::{self, BenchOptions, Rates, Stage};
use alexnet::error::Result;

/// What was measured; what could not be says why.
pub struct Speeds {
    pub ceilings: Result<Ceilings, String>,
    pub calls: Result<Vec<CallSpeed>, String>,
    pub batches: Vec<(usize, Result<BatchSpeed, String>)>,
    /// At the extent's batch size.
    pub stages: Result<Vec<(Stage, Option<Rates>)>, String>,
}

/// A call of a step, in bf16 and by itself.
pub struct CallSpeed {
    pub call: Call,
    /// As in the record's table.
    pub name: String,
    pub seconds: Rates,
    pub work: Work,
}

/// Training on synthetic batches that lie on the device, recorded, in bf16.
pub struct BatchSpeed {
    pub step_seconds: Rates,
    pub images_per_second: Rates,
    pub work: Work,
}

impl Speeds {
    pub fn measure(gpu: &Gpu, shards: &Path, extent: &Extent) -> Self {
        alexnet::tell!("bench: the card's ceilings");
        let ceilings = Ceilings::measure(gpu.context(), &extent.ceilings);
        alexnet::tell!("bench: a step, call by call");
        let calls = calls(gpu, shards, extent);
        let batches = extent.batch_sizes.iter().map(|batch_size| {
            alexnet::tell!("bench: steps of {batch_size}");
            (*batch_size, batch(gpu, shards, extent, *batch_size).map_err(|error| with_causes(&error)))
        });
        let batches = batches.collect();
        alexnet::tell!("bench: input, upload, device and end to end");
        let stages = stages(gpu, shards, extent);
        Self {
            ceilings: ceilings.map_err(|error| with_causes(&error)),
            calls: calls.map_err(|error| with_causes(&error)),
            batches,
            stages: stages.map_err(|error| with_causes(&error)),
        }
    }

    /// Of a stage, in images a second.
    pub fn stage(&self, stage: Stage) -> Option<Rates> {
        self.stages.as_ref().ok()?.iter().find(|(measured, _)| *measured == stage)?.1
    }

    /// At that batch size.
    pub fn batch(&self, batch_size: usize) -> Option<&BatchSpeed> {
        self.batches.iter().find(|(size, _)| *size == batch_size)?.1.as_ref().ok()
    }
}

/// The first step warms up. The learning rate is 0, so that each does the same work.
fn calls(gpu: &Gpu, shards: &Path, extent: &Extent) -> Result<Vec<CallSpeed>> {
    let experiment = experiment(gpu, shards, extent)?;
    let network = &experiment.network;
    let mut backend = backend(gpu, network, experiment.backend_options(), Graphs::Unused, Precision::Bf16)?;
    backend.load(&experiment.parameters)?;
    let mut batches = experiment.synthetic_batches(backend.input_dtype())?;
    let slot = Slot::Even;
    backend.upload(slot, batches.pop().expect("two synthetic batches"))?;
    let mut timed = |step: usize| backend.run_timed(slot, StepScalars { step: step as u64, learning_rate: 0.0 });
    timed(0)?;
    let steps = (1..=extent.call_steps).map(timed).collect::<Result<Vec<_>>>()?;
    backend.reclaim(slot)?;
    let calls = steps.first().into_iter().flatten().enumerate();
    let speeds = calls.filter_map(|(index, (call, _))| {
        let seconds = Rates::of(steps.iter().map(|step| step[index].1))?;
        Some(CallSpeed {
            call: *call,
            name: name(network, *call),
            seconds,
            work: work(network, extent.batch_size, *call),
        })
    });
    Ok(speeds.collect())
}

fn batch(gpu: &Gpu, shards: &Path, extent: &Extent, batch_size: usize) -> Result<BatchSpeed> {
    let options = BenchOptions { only: Some(Stage::Device), ..bench_options(gpu, shards, extent, batch_size) };
    let report = bench::measure(&options)?;
    let network = bench::experiment(&options)?.network;
    Ok(BatchSpeed {
        step_seconds: report.step_seconds().expect("the device was measured"),
        images_per_second: report.images_per_second(Stage::Device).expect("the device was measured"),
        work: calls_of(network.layers.len(), Pass::Train).map(|call| work(&network, batch_size, call)).sum(),
    })
}

fn stages(gpu: &Gpu, shards: &Path, extent: &Extent) -> Result<Vec<(Stage, Option<Rates>)>> {
    let report = bench::measure(&bench_options(gpu, shards, extent, extent.batch_size))?;
    let stages = [Stage::Input, Stage::Upload, Stage::Device, Stage::EndToEnd];
    Ok(stages.into_iter().map(|stage| (stage, report.images_per_second(stage))).collect())
}
