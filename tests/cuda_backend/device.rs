//! What the tests share: the simulated device, networks and runs on it.

use alexnet::backend::cuda::libraries::FOLDERS_VARIABLE;
use alexnet::backend::cuda::{CudaOptions, Gpu, Precision};
use alexnet::backend::{Backend, BackendOptions};
use alexnet::model::Network;
use alexnet::recipe::settings::{InitScheme, ModelSettings, UpdateRule};

use crate::simulated;

/// A narrow network for small inputs, with He's initial values, so that activations and gradients are neither all 0 nor
/// huge.
pub fn network(settings: ModelSettings, canvas: usize) -> Network {
    let settings = ModelSettings { init: InitScheme::He, ..settings };
    Network::new(&settings, canvas, 10).expect("a network")
}

/// The backend on the simulated device.
pub fn backend(
    network: &Network,
    options: BackendOptions,
    cuda: CudaOptions,
    precision: Precision,
) -> Box<dyn Backend> {
    // SAFETY: tests of one process set the same value before anything reads it.
    unsafe { std::env::set_var(FOLDERS_VARIABLE, simulated::folder()) };
    let gpu = Gpu::open(0).expect("the simulated device");
    gpu.backend(network, options, &cuda, precision).expect("the backend")
}

/// Of a batch of four.
pub fn options() -> BackendOptions {
    BackendOptions { batch_size: 4, seed: 11, update: UpdateRule::PAPER, label_smoothing: 0.0 }
}
