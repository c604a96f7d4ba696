//! Every tensor of a step agrees with the CPU backend's, for networks unlike those that `gpu-check` compares in
//! lab/gpu-check/tests/gpu_check/main.rs. The kernels' own cases (`src/backend/cuda/alone`) hold the other shapes and
//! orders.

use alexnet::backend::StepScalars;
use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::cuda::{CudaOptions, Precision};
use alexnet::backend::parity::{compare, losses_with_nan};
use alexnet::model::init::initial_parameters;
use alexnet::model::{LayerSpec, Network};
use alexnet::recipe::Recipe;
use alexnet::recipe::settings::{DropoutScaling, LrnPlace, LrnSettings, ModelSettings};

use crate::device::{backend, network, options};
use crate::kinds::{short, torchvision, zfnet};

/// Not step 0, so that dropout's counter is seen to count.
const SCALARS: StepScalars = StepScalars { step: 3, learning_rate: 0.01 };

#[test]
fn another_order_another_dropout_and_an_odd_canvas_agree_with_the_cpu() {
    let lrn = LrnSettings { place: LrnPlace::AfterPool, ..LrnSettings::default() };
    let dropout_scaling = DropoutScaling::Training;
    let settings = ModelSettings { width: 0.1, lrn, dropout_scaling, ..ModelSettings::default() };
    assert_agrees(&network(settings, 69), Precision::F32);
}

#[test]
fn torchvisions_network_agrees_with_the_cpu() {
    // Two canvases, of which stride and padding leave different rests.
    for canvas in [68, 71] {
        assert_agrees(&of_layers(&torchvision(8), canvas), Precision::F32);
    }
}

#[test]
fn strides_behind_the_first_layer_agree_with_the_cpu() {
    for precision in [Precision::F32, Precision::Bf16] {
        assert_agrees(&of_layers(&zfnet(), 96), precision);
    }
}

#[test]
fn the_recipes_of_other_networks_agree_with_the_cpu() {
    for name in ["code2012", "caffe", "caffenet", "torchvision", "zfnet"] {
        let recipe = Recipe::load(name, &[]).expect("a built-in recipe");
        let settings = ModelSettings { width: 0.05, ..recipe.settings.model };
        for precision in [Precision::F32, Precision::Bf16] {
            assert_agrees(&network(settings.clone(), 99), precision);
        }
    }
}

#[test]
fn a_network_of_three_layers_agrees_with_the_cpu() {
    for precision in [Precision::F32, Precision::Tf32] {
        assert_agrees(&of_layers(&short(), 40), precision);
    }
}

#[test]
fn what_is_not_a_number_shows_in_the_loss_of_its_step() {
    let network = network(ModelSettings { width: 0.05, ..ModelSettings::default() }, 67);
    let parameters = initial_parameters(&network, 5);
    for precision in [Precision::Bf16, Precision::F32] {
        let mut cuda = backend(&network, options(), CudaOptions::default(), precision);
        let losses = losses_with_nan(&network, &parameters, options(), SCALARS, cuda.as_mut()).expect("the steps");
        assert_eq!(losses.len(), network.layers.len());
        for (layer, loss) in network.layers.iter().zip(losses) {
            assert!(loss.is_nan(), "{}: {loss}", layer.name);
        }
    }
}

fn of_layers(layers: &[LayerSpec], canvas: usize) -> Network {
    Network::from_layers(layers, canvas, 10).expect("a network")
}

fn assert_agrees(network: &Network, precision: Precision) {
    let parameters = initial_parameters(network, 5);
    let mut cuda = backend(network, options(), CudaOptions::default(), precision);
    let mut cpu = CpuBackend::new(network, options(), None);
    let compared = compare(network, &parameters, options(), SCALARS, precision, cuda.as_mut(), &mut cpu);
    let compared = compared.expect("both steps");
    let num_layers = network.layers.len();
    assert!(compared.len() > num_layers * 7, "{} tensors", compared.len());
    let wrong: Vec<_> = compared.iter().filter(|one| !one.is_within()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
