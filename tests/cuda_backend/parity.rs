//! Every tensor of a step agrees with the CPU backend's, for a network unlike those that `gpu-check` compares in
//! tests/gpu_check.rs. The kernels' own tests (`src/backend/cuda/kernels/tests`) hold the other shapes and orders.

use alexnet::backend::StepScalars;
use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::cuda::{CudaOptions, Precision};
use alexnet::backend::parity::compare;
use alexnet::model::init::initial_parameters;
use alexnet::recipe::settings::{DropoutScaling, LrnPlace, LrnSettings, ModelSettings};

use crate::device::{backend, network, options};

/// Not step 0, so that dropout's counter is seen to count.
const SCALARS: StepScalars = StepScalars { step: 3, learning_rate: 0.01 };

#[test]
fn another_order_another_dropout_and_an_odd_canvas_agree_with_the_cpu() {
    let lrn = LrnSettings { place: LrnPlace::AfterPool, ..LrnSettings::default() };
    let dropout_scaling = DropoutScaling::Training;
    let network = network(ModelSettings { width: 0.1, lrn, dropout_scaling, ..ModelSettings::default() }, 69);
    let parameters = initial_parameters(&network, 5);
    let mut cuda = backend(&network, options(), CudaOptions::default(), Precision::F32);
    let mut cpu = CpuBackend::new(&network, options(), None);
    let compared = compare(&network, &parameters, options(), SCALARS, Precision::F32, cuda.as_mut(), &mut cpu);
    let compared = compared.expect("both steps");
    assert!(compared.len() > 8 * 7, "{} tensors", compared.len());
    let wrong: Vec<_> = compared.iter().filter(|one| !one.is_within()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
