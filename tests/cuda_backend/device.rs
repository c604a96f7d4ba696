//! What the tests share: the simulated device, networks and runs on it.

use std::sync::Arc;

use alexnet::backend::BackendOptions;
use alexnet::backend::cuda::driver::Context;
use alexnet::backend::cuda::libraries::{self, Versions};
use alexnet::backend::cuda::{CudaBackend, CudaOptions, Precision, Real};
use alexnet::model::Network;
use alexnet::recipe::settings::{InitScheme, ModelSettings};

use crate::simulated;

/// The simulated device's context and its libraries' versions.
pub fn open() -> (Arc<Context>, Versions) {
    // SAFETY: tests of one process set the same value before anything reads it.
    unsafe { std::env::set_var(libraries::FOLDERS_VARIABLE, simulated::folder()) };
    let versions = libraries::open().expect("the simulated libraries");
    (Context::new(0).expect("the simulated device"), versions)
}

/// A narrow network for small inputs, with He's initial values, so that activations and gradients are neither all 0 nor huge.
pub fn network(settings: ModelSettings, canvas: usize) -> Network {
    let settings = ModelSettings { init: InitScheme::He, ..settings };
    Network::new(&settings, canvas, 10).expect("a network")
}

/// The backend on the simulated device.
pub fn backend<R: Real>(
    network: &Network,
    options: BackendOptions,
    cuda: CudaOptions,
    precision: Precision,
) -> CudaBackend<R> {
    let (context, versions) = open();
    CudaBackend::new(&context, versions, network, options, &cuda, precision).expect("the backend")
}

/// Of a batch of four.
pub fn options() -> BackendOptions {
    BackendOptions { batch_size: 4, seed: 11, momentum: 0.9, weight_decay: 0.0005 }
}
