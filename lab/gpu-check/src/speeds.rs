//! Speeds: a step in several manners, the card's ceilings, a step call by call, steps by batch size, and the stages of
//! training. None of them fails a check.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::finding::Task;
use super::gpu::{backend, bench_options, experiment};
use super::options::Extent;
use super::profile::KernelTime;
use super::roofline::{Work, name, work};
use alexnet::backend::calls as calls_of;
use alexnet::backend::cuda::ceilings::Ceilings;
use alexnet::backend::cuda::libraries::tuning::{Choice, Search};
use alexnet::backend::cuda::{CudaOptions, Gpu, Graphs, Lanes, Precision, UpdateWidth, WhatRuns};
use alexnet::backend::{Pass, Slot, StepScalars};
use alexnet::bench::{self, BenchOptions, Effort, Rates, Stage};
use alexnet::error::Result;

/// What was measured; what could not be says why, and what was not tried is not there.
#[derive(Clone, Debug, Default)]
pub struct Speeds {
    pub steps: Vec<(String, Result<StepSpeed, String>)>,
    pub ceilings: Option<Result<Ceilings, String>>,
    pub calls: Option<Result<Vec<CallSpeed>, String>>,
    pub batches: Vec<(usize, Result<StepSpeed, String>)>,
    /// At the extent's batch size.
    pub stages: Option<Result<StageRates, String>>,
    pub runs: Option<Result<WhatRuns, String>>,
    /// Of each product, all algorithms and their times.
    pub algorithms: Option<Result<Vec<Choice>, String>>,
    /// By kernel; empty where Nsight Compute could not be asked.
    pub profile: Vec<KernelTime>,
}

/// What each stage reached, if it copies or computes anything, in images a second.
pub type StageRates = Vec<(Stage, Option<Rates>)>;

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Measured {
    /// In a manner, at the extent's batch size.
    Step(String, Result<StepSpeed, String>),
    Ceilings(Result<Ceilings, String>),
    Calls(Result<Vec<CallSpeed>, String>),
    /// By batch size.
    Batch(usize, Result<StepSpeed, String>),
    Stages(Result<StageRates, String>),
    Runs(Result<WhatRuns, String>),
    Algorithms(Result<Vec<Choice>, String>),
    Profile(Vec<KernelTime>),
}

/// A call of a step, in bf16 and by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallSpeed {
    /// As in the record's table.
    pub name: String,
    pub is_update: bool,
    pub seconds: Rates,
    pub work: Work,
}

/// Training on synthetic batches that lie on the device, in bf16.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepSpeed {
    pub step_seconds: Rates,
    pub images_per_second: Rates,
    pub work: Work,
}

impl Measured {
    pub fn has_failed(&self) -> bool {
        match self {
            Self::Step(_, result) | Self::Batch(_, result) => result.is_err(),
            Self::Ceilings(result) => result.is_err(),
            Self::Calls(result) => result.is_err(),
            Self::Stages(result) => result.is_err(),
            Self::Runs(result) => result.is_err(),
            Self::Algorithms(result) => result.is_err(),
            Self::Profile(_) => false,
        }
    }
}

impl Speeds {
    pub fn take(&mut self, measured: Measured) {
        match measured {
            Measured::Step(name, step) => self.steps.push((name, step)),
            Measured::Ceilings(ceilings) => self.ceilings = Some(ceilings),
            Measured::Calls(calls) => self.calls = Some(calls),
            Measured::Batch(size, batch) => self.batches.push((size, batch)),
            Measured::Stages(stages) => self.stages = Some(stages),
            Measured::Runs(runs) => self.runs = Some(runs),
            Measured::Algorithms(algorithms) => self.algorithms = Some(algorithms),
            Measured::Profile(times) => self.profile = times,
        }
    }

    /// Of a stage, in images a second.
    pub fn stage(&self, stage: Stage) -> Option<Rates> {
        self.stages.as_ref()?.as_ref().ok()?.iter().find(|(measured, _)| *measured == stage)?.1
    }

    /// At that batch size, as it trains: measured longer than in other manners, where the time was enough for that.
    pub fn batch(&self, batch_size: usize, extent: &Extent) -> Option<&StepSpeed> {
        let batch =
            self.batches.iter().find(|(size, _)| *size == batch_size).and_then(|(_, speed)| speed.as_ref().ok());
        let first = || self.steps.first()?.1.as_ref().ok();
        batch.or_else(|| first().filter(|_| batch_size == extent.batch_size))
    }

    /// What the card can do, where that was measured.
    pub fn ceilings(&self) -> Option<&Ceilings> {
        self.ceilings.as_ref()?.as_ref().ok()
    }
}

/// A step as it trains, and what each of its devices brings: as a whole, and where its kernels are launched one by one.
pub fn step_tasks<'a>(gpu: &'a Gpu, extent: &'a Extent) -> Vec<Task<'a>> {
    let manners = [
        ("as it trains", Graphs::Used, Lanes::Beside, UpdateWidth::Narrow),
        ("wide updates", Graphs::Used, Lanes::Beside, UpdateWidth::Wide),
        ("all in turn", Graphs::Used, Lanes::InTurn, UpdateWidth::Narrow),
        ("all in turn, wide updates", Graphs::Used, Lanes::InTurn, UpdateWidth::Wide),
        ("no graph", Graphs::Unused, Lanes::Beside, UpdateWidth::Narrow),
        ("no graph, wide updates", Graphs::Unused, Lanes::Beside, UpdateWidth::Wide),
        ("no graph, all in turn, wide updates", Graphs::Unused, Lanes::InTurn, UpdateWidth::Wide),
    ];
    let task = |(manner, graphs, lanes, updates): (&'static str, _, _, _)| {
        let cuda = CudaOptions { graphs, lanes, updates, ..CudaOptions::default() };
        Task::measure(
            format!("bench: a step, {manner}"),
            move || step(gpu, extent, extent.batch_size, extent.step_effort, cuda),
            |speed| Measured::Step(manner.to_owned(), speed),
        )
    };
    manners.into_iter().map(task).collect()
}

pub fn call_tasks<'a>(gpu: &'a Gpu, extent: &'a Extent) -> Vec<Task<'a>> {
    let ceilings = || Ceilings::measure(gpu.context(), &extent.ceilings);
    vec![
        Task::measure("bench: a step, call by call", || calls(gpu, extent), Measured::Calls),
        Task::measure("bench: the card's ceilings", ceilings, Measured::Ceilings),
    ]
}

/// What a step is made of; and what it could be made of, by the time that it takes.
pub fn run_tasks<'a>(gpu: &'a Gpu, extent: &'a Extent) -> Vec<Task<'a>> {
    let runs = |search| {
        let experiment = experiment(gpu, None, extent)?;
        let cuda = CudaOptions { search, ..CudaOptions::default() };
        let options = experiment.backend_options();
        gpu.what_runs(&experiment.network, &experiment.parameters, options, &cuda, Precision::Bf16)
    };
    vec![
        Task::measure("what runs: the kernels of a step", move || runs(Search::Known), Measured::Runs),
        Task::measure(
            "what runs: the times of all algorithms",
            move || Ok(runs(Search::Timed)?.choices),
            Measured::Algorithms,
        ),
    ]
}

pub fn batch_tasks<'a>(gpu: &'a Gpu, extent: &'a Extent) -> Vec<Task<'a>> {
    let task = |batch_size: &'a usize| {
        Task::measure(
            format!("bench: steps of {batch_size}"),
            || step(gpu, extent, *batch_size, extent.effort, CudaOptions::default()),
            |speed| Measured::Batch(*batch_size, speed),
        )
    };
    extent.batch_sizes.iter().map(task).collect()
}

pub fn stage_task<'a>(gpu: &'a Gpu, shards: &'a Path, extent: &'a Extent) -> Task<'a> {
    let stages = || stages(gpu, shards, extent);
    Task::measure("bench: input, upload, device and end to end", stages, Measured::Stages)
}

/// The first step warms up. The learning rate is 0, so that each does the same work.
fn calls(gpu: &Gpu, extent: &Extent) -> Result<Vec<CallSpeed>> {
    let experiment = experiment(gpu, None, extent)?;
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
            name: name(network, *call),
            is_update: call.is_update(),
            seconds,
            work: work(network, extent.batch_size, *call),
        })
    });
    Ok(speeds.collect())
}

fn step(gpu: &Gpu, extent: &Extent, batch_size: usize, effort: Effort, cuda: CudaOptions) -> Result<StepSpeed> {
    let options = bench_options(gpu, None, extent, batch_size);
    let compute = alexnet::backend::Choice { cuda, ..options.compute };
    let options = BenchOptions { only: Some(Stage::Device), effort, compute, ..options };
    let report = bench::measure(&options)?;
    let network = bench::experiment(&options)?.network;
    Ok(StepSpeed {
        step_seconds: report.step_seconds().expect("the device was measured"),
        images_per_second: report.images_per_second(Stage::Device).expect("the device was measured"),
        work: calls_of(network.layers.len(), Pass::Train).map(|call| work(&network, batch_size, call)).sum(),
    })
}

fn stages(gpu: &Gpu, shards: &Path, extent: &Extent) -> Result<StageRates> {
    let report = bench::measure(&bench_options(gpu, Some(shards), extent, extent.batch_size))?;
    let stages = [Stage::Input, Stage::Upload, Stage::Device, Stage::EndToEnd];
    Ok(stages.into_iter().map(|stage| (stage, report.images_per_second(stage))).collect())
}
