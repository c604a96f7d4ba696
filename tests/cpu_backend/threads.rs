//! The bits do not depend on the number of threads, nor on the run, nor on what else is in a batch; memory is bounded.

use std::num::NonZeroUsize;

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::{Backend, BackendOptions, Pass, Slot};
use alexnet::model::init::initial_parameters;
use alexnet::model::{Network, Parameters};
use alexnet::recipe::settings::{ModelSettings, UpdateRule};

use super::steps::{run, synthetic_batch};

/// Not a multiple of the parts into which a batch is cut.
const BATCH_SIZE: usize = 7;

/// What three steps and an evaluation leave behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    losses: Vec<f64>,
    gradients: Vec<f32>,
    parameters: Parameters,
    probabilities: Vec<f32>,
}

fn outcome(num_threads: usize) -> Outcome {
    let settings = ModelSettings { width: 0.05, towers: 2, ..ModelSettings::default() };
    let network = Network::new(&settings, 99, 10).unwrap();
    let options = BackendOptions { batch_size: BATCH_SIZE, seed: 1, update: UpdateRule::PAPER, label_smoothing: 0.0 };
    let mut backend = CpuBackend::new(&network, options, NonZeroUsize::new(num_threads));
    let mut parameters = initial_parameters(&network, 1);
    backend.load(&parameters).unwrap();
    let mut batch = synthetic_batch(&network, BATCH_SIZE);
    let mut losses = Vec::new();
    for number in 0..4 {
        let pass = if number < 3 { Pass::Train } else { Pass::Eval };
        let (statistics, back) = run(&mut backend, pass, number, 0.01, batch);
        losses.push(statistics.loss_sum);
        batch = back;
    }
    backend.store(&mut parameters).unwrap();
    let mut gradients = parameters.clone();
    backend.gradients(&mut gradients).unwrap();
    let probabilities = backend.probabilities(Slot::of_step(3)).unwrap().to_vec();
    Outcome { losses, gradients: gradients.values, parameters, probabilities }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let one = outcome(1);
    assert!(one.gradients.iter().any(|gradient| *gradient != 0.0));
    for num_threads in [1, 2, 3] {
        assert!(outcome(num_threads) == one, "{num_threads} threads differ from one");
    }
}

#[test]
fn a_short_batch_is_evaluated_as_its_samples_alone() {
    let settings = ModelSettings { width: 0.05, ..ModelSettings::default() };
    let network = Network::new(&settings, 99, 10).unwrap();
    let evaluate = |batch_size: usize, num_valid: usize| {
        let options = BackendOptions { batch_size, seed: 1, update: UpdateRule::PAPER, label_smoothing: 0.0 };
        let mut backend = CpuBackend::new(&network, options, None);
        backend.load(&initial_parameters(&network, 1)).unwrap();
        let mut batch = synthetic_batch(&network, batch_size);
        batch.num_valid = num_valid;
        let (statistics, _) = run(&mut backend, Pass::Eval, 0, 0.0, batch);
        (statistics, backend.probabilities(Slot::Even).unwrap().to_vec())
    };
    let (short, alone) = (evaluate(5, 3), evaluate(3, 3));
    assert_eq!(short.0.num_samples, 3);
    assert_eq!(short, alone);
}

#[test]
fn batch_128_of_the_full_network_fits_in_one_and_a_half_gigabytes() {
    let network = Network::new(&ModelSettings::default(), 227, 1000).unwrap();
    let options = BackendOptions { batch_size: 128, seed: 0, update: UpdateRule::PAPER, label_smoothing: 0.0 };
    let bytes = CpuBackend::new(&network, options, NonZeroUsize::new(2)).device().memory_bytes;
    assert!(bytes < 1_500_000_000, "{bytes} bytes");
}
