//! What runs: the kernels of a recorded step, and the libraries' algorithms.

use half::bf16;
use serde::{Deserialize, Serialize};

use super::libraries::tuning::Choice;
use super::{CudaBackend, CudaOptions, Gpu, GraphKernel, Precision, Real, Recording};
use crate::backend::{Backend, BackendOptions, Pass, Slot, StepScalars};
use crate::error::Result;
use crate::input::Batch;
use crate::model::{Network, Parameters};

/// What a training step is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatRuns {
    /// Of the step's graph, the libraries' kernels too; none where steps are not recorded.
    pub kernels: Vec<GraphKernel>,
    /// What the graph has beside kernels: copies and fills.
    pub num_others: usize,
    /// What was taken for each direction of each convolution and for each product.
    pub choices: Vec<Choice>,
}

impl Gpu {
    /// Trains two steps at a learning rate of 0, and looks at what the second was recorded as.
    pub fn what_runs(
        &self,
        network: &Network,
        parameters: &Parameters,
        options: BackendOptions,
        cuda: &CudaOptions,
        precision: Precision,
    ) -> Result<WhatRuns> {
        let (context, versions) = (self.context(), self.versions());
        match precision {
            Precision::Bf16 => {
                let backend = CudaBackend::<bf16>::new(context, versions, network, options, cuda, precision)?;
                backend.what_runs(network, parameters)
            }
            Precision::Tf32 | Precision::F32 => {
                let backend = CudaBackend::<f32>::new(context, versions, network, options, cuda, precision)?;
                backend.what_runs(network, parameters)
            }
        }
    }
}

impl<R: Real> CudaBackend<R> {
    fn what_runs(mut self, network: &Network, parameters: &Parameters) -> Result<WhatRuns> {
        let (slot, batch_size) = (Slot::Even, self.options.batch_size);
        let grey = Batch::zeros(self.input_dtype(), batch_size, network.input_values());
        self.load(parameters)?;
        self.upload(slot, Batch { num_valid: batch_size, ..grey })?;
        for step in 0..2 {
            self.run(slot, Pass::Train, StepScalars { step, learning_rate: 0.0 })?;
            self.statistics(slot)?;
        }
        self.reclaim(slot)?;
        let (kernels, num_others) = match &self.recordings[slot as usize][Pass::Train as usize] {
            Recording::Recorded(graph) => graph.kernels()?,
            Recording::New | Recording::WarmedUp => Default::default(),
        };
        Ok(WhatRuns { kernels, num_others, choices: std::mem::take(&mut self.choices) })
    }
}
