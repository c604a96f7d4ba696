//! Backends and benchmarks on the GPU under test.

use std::path::Path;

use alexnet::backend::cuda::{CudaOptions, Gpu, Graphs, Precision};
use alexnet::backend::{Backend, BackendOptions, Choice, DeviceChoice, PrecisionChoice};
use alexnet::bench::{self, BenchOptions};
use alexnet::error::Result;
use alexnet::model::Network;
use alexnet::train::experiment::Experiment;

use super::options::Extent;

/// All precisions of the products.
pub const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Tf32, Precision::F32];

pub fn backend(
    gpu: &Gpu,
    network: &Network,
    options: BackendOptions,
    graphs: Graphs,
    precision: Precision,
) -> Result<Box<dyn Backend>> {
    gpu.backend(network, options, &CudaOptions { graphs, ..CudaOptions::default() }, precision)
}

/// What the benchmarks of this extent measure in bf16, at that batch size: on shards, or on synthetic batches.
pub fn bench_options(gpu: &Gpu, shards: Option<&Path>, extent: &Extent, batch_size: usize) -> BenchOptions {
    let device = DeviceChoice::Cuda(gpu.context().ordinal());
    BenchOptions {
        shards: shards.map(Path::to_path_buf),
        recipe: Some("small".into()),
        sets: extent.sets(batch_size),
        compute: Choice { precision: PrecisionChoice::Bf16, ..Choice::of(device) },
        workers: None,
        only: None,
        dtype: None,
        effort: extent.effort,
    }
}

/// The network, its parameters and its data, at the extent's batch size: with He's initial values, so that it learns
/// from the first step.
pub fn experiment(gpu: &Gpu, shards: Option<&Path>, extent: &Extent) -> Result<Experiment> {
    bench::experiment(&bench_options(gpu, shards, extent, extent.batch_size))
}
