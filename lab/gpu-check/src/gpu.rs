//! The GPU under test: its context, its libraries, and backends on it.

use std::path::Path;
use std::sync::Arc;

use alexnet::backend::cuda::Context;
use alexnet::backend::cuda::libraries::Versions;
use alexnet::backend::cuda::{CudaOptions, Gpu, Graphs, Precision};
use alexnet::backend::{Backend, BackendOptions, Choice, DeviceChoice, PrecisionChoice};
use alexnet::bench::{self, BenchOptions};
use alexnet::error::Result;
use alexnet::model::Network;
use alexnet::train::experiment::Experiment;

use super::options::Extent;

/// A card that can train.
pub struct TestedGpu {
    gpu: Gpu,
}

/// All precisions of the products.
pub const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Tf32, Precision::F32];

impl TestedGpu {
    pub fn open(ordinal: u32) -> Result<Self> {
        let gpu = Gpu::open(ordinal)?;
        gpu.precision(PrecisionChoice::Auto)?;
        Ok(Self { gpu })
    }

    pub fn backend(
        &self,
        network: &Network,
        options: BackendOptions,
        graphs: Graphs,
        precision: Precision,
    ) -> Result<Box<dyn Backend>> {
        self.gpu.backend(network, options, &CudaOptions { graphs, ..CudaOptions::default() }, precision)
    }

    pub fn context(&self) -> &Arc<Context> {
        self.gpu.context()
    }

    pub fn versions(&self) -> Versions {
        self.gpu.versions()
    }

    /// What the benchmarks of this extent measure in bf16, at that batch size.
    pub fn bench_options(&self, shards: &Path, extent: &Extent, batch_size: usize) -> BenchOptions {
        let device = DeviceChoice::Cuda(self.context().ordinal());
        BenchOptions {
            shards: shards.to_path_buf(),
            recipe: Some("small".into()),
            sets: extent.sets(batch_size),
            compute: Choice { precision: PrecisionChoice::Bf16, ..Choice::of(device) },
            workers: None,
            only: None,
            dtype: None,
            effort: extent.effort,
        }
    }

    /// The network, its parameters and its data, at the extent's batch size: with He's initial values, so that it
    /// learns from the first step.
    pub fn experiment(&self, shards: &Path, extent: &Extent) -> Result<Experiment> {
        bench::experiment(&self.bench_options(shards, extent, extent.batch_size))
    }
}
