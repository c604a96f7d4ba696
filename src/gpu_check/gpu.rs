//! The GPU under test: its context, its libraries, and backends on it.

use std::sync::Arc;

use half::bf16;

use crate::backend::cuda::driver::Context;
use crate::backend::cuda::libraries::{self, Versions};
use crate::backend::cuda::{CudaBackend, CudaOptions, Graphs, Precision, Real};
use crate::backend::{BackendOptions, Choice, DeviceChoice, PrecisionChoice};
use crate::bench;
use crate::bench::subject::Subject;
use crate::error::Result;
use crate::model::Network;

use super::dataset::MadeDataset;
use super::options::Extent;

/// Its context is current on the thread that opened it.
pub struct Gpu {
    pub context: Arc<Context>,
    pub versions: Versions,
}

/// All precisions of the products.
pub const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Tf32, Precision::F32];

/// Work on a backend of a type of activations.
pub trait TypedWork {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<R: Real>(self, backend: CudaBackend<R>) -> Result<Self::Output>;
}

impl Gpu {
    pub fn open(ordinal: u32) -> Result<Self> {
        let versions = libraries::open()?;
        let context = Context::new(ordinal)?;
        Precision::choose(PrecisionChoice::Auto, context.capability())?;
        Ok(Self { context, versions })
    }

    /// Makes a backend for `work`.
    pub fn run<W: TypedWork>(
        &self,
        network: &Network,
        options: BackendOptions,
        graphs: Graphs,
        precision: Precision,
        work: W,
    ) -> Result<W::Output> {
        let cuda = CudaOptions { graphs, ..CudaOptions::default() };
        let (context, versions) = (&self.context, self.versions);
        match precision {
            Precision::Bf16 => {
                work.run(CudaBackend::<bf16>::new(context, versions, network, options, &cuda, precision)?)
            }
            Precision::Tf32 | Precision::F32 => {
                work.run(CudaBackend::<f32>::new(context, versions, network, options, &cuda, precision)?)
            }
        }
    }

    /// What the benchmarks of this extent measure in bf16, at that batch size.
    pub fn bench_options(&self, dataset: &MadeDataset, extent: &Extent, batch_size: usize) -> bench::Options {
        let device = DeviceChoice::Cuda(self.context.ordinal());
        bench::Options {
            shards: dataset.path().to_path_buf(),
            recipe: Some("small".into()),
            sets: extent.sets(batch_size),
            compute: Choice { precision: PrecisionChoice::Bf16, ..Choice::of(device) },
            workers: None,
            only: None,
            dtype: None,
            effort: extent.effort,
        }
    }

    /// The network, its parameters and its data, at the extent's batch size: with He's initial values, so that it learns from the first step.
    pub fn subject(&self, dataset: &MadeDataset, extent: &Extent) -> Result<Subject> {
        Subject::new(&self.bench_options(dataset, extent, extent.batch_size))
    }
}
