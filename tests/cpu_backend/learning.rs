//! A tiny network overfits 32 images.

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::{Backend, BackendOptions, Pass};
use alexnet::model::Network;
use alexnet::model::init::initial_parameters;
use alexnet::recipe::settings::{InitScheme, ModelSettings, UpdateRule};

use super::steps::{run, synthetic_batch};

const NUM_IMAGES: usize = 32;

#[test]
fn a_tiny_network_overfits_32_images() {
    let settings = ModelSettings { width: 0.05, dropout: 0.0, init: InitScheme::He, ..ModelSettings::default() };
    let network = Network::new(&settings, 67, 8).unwrap();
    let options = BackendOptions { batch_size: NUM_IMAGES, seed: 0, update: UpdateRule::PAPER, label_smoothing: 0.0 };
    let mut backend = CpuBackend::new(&network, options, None);
    backend.load(&initial_parameters(&network, 0)).unwrap();
    let mut batch = synthetic_batch(&network, NUM_IMAGES);
    let mut losses = Vec::new();
    for number in 0..400 {
        let (statistics, back) = run(&mut backend, Pass::Train, number, 0.005, batch);
        losses.push(statistics.loss_sum / NUM_IMAGES as f64);
        if losses[losses.len() - 1] < 0.01 && statistics.num_top1 == NUM_IMAGES as u64 {
            return;
        }
        batch = back;
    }
    panic!("every tenth loss: {:?}", losses.iter().step_by(10).collect::<Vec<_>>());
}
