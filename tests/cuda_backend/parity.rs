//! Every tensor of a step agrees with the CPU backend's, in every precision and for every shape of network.

use alexnet::backend::StepScalars;
use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::cuda::{CudaOptions, Precision};
use alexnet::backend::parity::compare;
use alexnet::model::init::initial_parameters;
use alexnet::recipe::settings::{DropoutScaling, LrnPlace, LrnSettings, ModelSettings};

use crate::device::{backend, network, options};

/// Not step 0, so that dropout's counter is seen to count.
const SCALARS: StepScalars = StepScalars { step: 3, learning_rate: 0.01 };

fn assert_agrees(settings: ModelSettings, canvas: usize, precision: Precision) {
    let network = network(settings, canvas);
    let parameters = initial_parameters(&network, 5);
    let mut cuda = backend(&network, options(), CudaOptions::default(), precision);
    let mut cpu = CpuBackend::new(&network, options(), None);
    let compared = compare(&network, &parameters, options(), SCALARS, precision, cuda.as_mut(), &mut cpu);
    let compared = compared.expect("both steps");
    for one in &compared {
        println!("{:<28} {:.2e} of {:.0e}", one.tensor, one.relative_error, one.tolerance);
    }
    assert!(compared.len() > 8 * 7, "{} tensors", compared.len());
    let wrong: Vec<_> = compared.iter().filter(|one| !one.is_within()).collect();
    assert!(wrong.is_empty(), "{precision:?}: {wrong:#?}");
}

fn narrow() -> ModelSettings {
    ModelSettings { width: 0.1, ..ModelSettings::default() }
}

#[test]
fn f32_agrees_with_the_cpu_to_rounding() {
    assert_agrees(narrow(), 67, Precision::F32);
}

#[test]
fn tf32_agrees_within_its_rounding() {
    assert_agrees(narrow(), 67, Precision::Tf32);
}

#[test]
fn bf16_agrees_within_its_rounding() {
    assert_agrees(narrow(), 67, Precision::Bf16);
}

#[test]
fn two_towers_agree() {
    assert_agrees(ModelSettings { towers: 2, ..narrow() }, 67, Precision::F32);
}

#[test]
fn every_place_of_the_normalisation_agrees() {
    for place in [LrnPlace::AfterPool, LrnPlace::BeforeRelu, LrnPlace::Off] {
        let lrn = LrnSettings { place, ..LrnSettings::default() };
        assert_agrees(ModelSettings { lrn, ..narrow() }, 67, Precision::F32);
    }
}

#[test]
fn dropout_scaled_in_training_and_none_at_all_agree() {
    let scaled = ModelSettings { dropout_scaling: DropoutScaling::Training, ..narrow() };
    assert_agrees(scaled, 67, Precision::F32);
    assert_agrees(ModelSettings { dropout: 0.0, ..narrow() }, 67, Precision::F32);
}

#[test]
fn canvases_that_do_not_fill_the_last_blocks_agree() {
    for canvas in [68, 69, 70, 99] {
        assert_agrees(narrow(), canvas, Precision::F32);
    }
}

#[test]
fn the_papers_geometry_agrees() {
    assert_agrees(ModelSettings { width: 0.25, ..ModelSettings::default() }, 227, Precision::Bf16);
}
