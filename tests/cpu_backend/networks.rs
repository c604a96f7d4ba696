//! Networks of other kinds than the paper's.

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::{Backend, BackendOptions, Pass};
use alexnet::model::init::initial_parameters;
use alexnet::model::layers::{DropoutPlace, LayerSpec, Operation, Units};
use alexnet::model::{Block, Network, Parameters};
use alexnet::recipe::settings::UpdateRule;

use super::kinds::{short, torchvision, zfnet};
use super::steps::{run, synthetic_batch};

const BATCH_SIZE: usize = 4;
const OPTIONS: BackendOptions =
    BackendOptions { batch_size: BATCH_SIZE, seed: 1, update: UpdateRule::PAPER, label_smoothing: 0.0 };

fn num_parameters(network: &Network) -> usize {
    let blocks = network.layers.iter().map(|layer| &layer.block);
    blocks.map(|block| block.weight_shape().iter().product::<usize>() + block.num_biases()).sum()
}

fn sides(network: &Network) -> Vec<(usize, usize)> {
    let blocks = network.layers.iter().map(|layer| &layer.block);
    blocks
        .filter_map(|block| match block {
            Block::Conv(conv) => Some((conv.conv_side, conv.out_side)),
            Block::Dense(_) => None,
        })
        .collect()
}

#[test]
fn torchvisions_network_has_its_61_million_parameters() {
    let network = Network::from_layers(&torchvision(1), 224, 1000).unwrap();
    assert_eq!(num_parameters(&network), 61_100_840);
    assert_eq!(sides(&network), [(55, 27), (27, 13), (13, 13), (13, 13), (13, 6)]);
}

#[test]
fn zeiler_and_fergus_strides_give_their_sides() {
    let network = Network::from_layers(&zfnet(), 224, 1000).unwrap();
    assert_eq!(sides(&network), [(110, 54), (25, 12), (12, 12), (12, 12), (12, 5)]);
}

#[test]
fn layers_that_fit_nowhere_are_refused_by_name() {
    let refused = |change: fn(&mut Vec<LayerSpec>)| {
        let mut layers = zfnet();
        change(&mut layers);
        Network::from_layers(&layers, 99, 10).unwrap_err().to_string()
    };
    for (change, expected) in [
        ((|layers| layers[0].name = "conv2".into()) as fn(&mut Vec<LayerSpec>), "layer conv2: name"),
        (|layers| layers.swap(4, 5), "layer conv5: operation"),
        (|layers| layers.swap(6, 7), "layer fc8: units = Classes: expected Hidden"),
        (|layers| layers.truncate(5), "last layer"),
        (|layers| *layers = vec![], "last layer"),
        (|layers| conv(&mut layers[1]).stride = 0, "layer conv2: stride = 0: expected 1 or more"),
        (|layers| conv(&mut layers[1]).padding = 5, "layer conv2: padding = 5"),
        (|layers| conv(&mut layers[1]).groups = 3, "layer conv2: groups = 3"),
        (|layers| conv(&mut layers[0]).kernel_size = 103, "augment.canvas = 99: too small for conv1"),
        (|layers| conv(&mut layers[0]).tail.extend_from_within(1..2), "layer conv1: poolings = 2"),
    ] {
        let message = refused(change);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

fn conv(layer: &mut LayerSpec) -> &mut alexnet::model::layers::ConvSpec {
    let Operation::Conv(conv) = &mut layer.operation else { panic!("a convolution") };
    conv
}

/// A step's loss, a sample, and its gradients, where `parameters` has the values. The learning rate is 0.
fn loss(network: &Network, parameters: &Parameters) -> (f64, Vec<f32>) {
    let mut backend = CpuBackend::new(network, OPTIONS, None);
    backend.load(parameters).unwrap();
    let (statistics, _) = run(&mut backend, Pass::Train, 3, 0.0, synthetic_batch(network, BATCH_SIZE));
    (statistics.loss_sum / BATCH_SIZE as f64, gradients(&mut backend, parameters))
}

fn gradients(backend: &mut CpuBackend, parameters: &Parameters) -> Vec<f32> {
    let mut gradients = parameters.clone();
    backend.gradients(&mut gradients).unwrap();
    gradients.values
}

/// Moves each tensor along its gradient g, by as much as should change the loss by 0.005 each way. A term that the
/// gradient lacks makes it change by less; ReLU's kinks and the curvature by a few percent.
fn assert_gradients_tell_the_loss(layers: &[LayerSpec], canvas: usize) {
    let network = Network::from_layers(layers, canvas, 10).unwrap();
    let parameters = initial_parameters(&network, 5);
    let (_, gradients) = loss(&network, &parameters);
    for place in parameters.layout.layers() {
        for (part, range) in [("weight", &place.weight), ("bias", &place.bias)] {
            let gradient = &gradients[range.clone()];
            let square: f64 = gradient.iter().map(|value| f64::from(*value).powi(2)).sum();
            let moved = |by: f64| {
                let mut moved = parameters.clone();
                let values = moved.values[range.clone()].iter_mut().zip(gradient);
                values.for_each(|(value, gradient)| *value += (by / square * f64::from(*gradient)) as f32);
                loss(&network, &moved).0
            };
            let change = (moved(0.005) - moved(-0.005)) / 0.01;
            assert!((change - 1.0).abs() < 0.1, "{}.{part}: {change} of what its gradient says", place.name);
        }
    }
}

#[test]
fn gradients_of_torchvisions_network_tell_how_the_loss_changes() {
    assert_gradients_tell_the_loss(&torchvision(8), 68);
}

#[test]
fn gradients_of_zeiler_and_fergus_network_tell_how_the_loss_changes() {
    assert_gradients_tell_the_loss(&zfnet(), 96);
}

#[test]
fn gradients_of_a_short_network_tell_how_the_loss_changes() {
    assert_gradients_tell_the_loss(&short(), 40);
}

#[test]
fn a_step_moves_biases_at_their_own_rate_and_without_decay() {
    let network = Network::from_layers(&torchvision(8), 68, 10).unwrap();
    let before = initial_parameters(&network, 5);
    let mut backend = CpuBackend::new(&network, OPTIONS, None);
    backend.load(&before).unwrap();
    run(&mut backend, Pass::Train, 0, 0.01, synthetic_batch(&network, BATCH_SIZE));
    let mut after = before.clone();
    backend.store(&mut after).unwrap();
    let gradients = gradients(&mut backend, &before);
    assert_eq!(before.layout.layers()[0].bias_rule.rate, 2.0);
    for place in before.layout.layers() {
        let expected = |at: usize, learning_rate: f32, weight_decay: f32| {
            0.0 - weight_decay * learning_rate * before.values[at] - learning_rate * gradients[at]
        };
        assert!(place.weight.clone().all(|at| after.velocities[at] == expected(at, 0.01, 0.0005)), "{}", place.name);
        assert!(place.bias.clone().all(|at| after.velocities[at] == expected(at, 0.02, 0.0)), "{}", place.name);
    }
}

#[test]
fn evaluation_scales_what_comes_before_a_layer() {
    let mut layers = zfnet();
    let probabilities = |layers: &[LayerSpec]| {
        let network = Network::from_layers(layers, 96, 10).unwrap();
        let mut backend = CpuBackend::new(&network, OPTIONS, None);
        backend.load(&initial_parameters(&network, 5)).unwrap();
        run(&mut backend, Pass::Eval, 0, 0.0, synthetic_batch(&network, BATCH_SIZE));
        backend.probabilities(alexnet::backend::Slot::Even).unwrap().to_vec()
    };
    // Dropout that scales in evaluation is the same behind fc6 and before fc7.
    let half = alexnet::model::Dropout { probability: 0.5, train_scale: 1.0, eval_scale: 0.5 };
    let dense = |units, dropout| Operation::Dense(alexnet::model::layers::DenseSpec { units, dropout });
    layers[5].operation = dense(Units::Hidden(64), DropoutPlace::After(half));
    let behind = probabilities(&layers);
    layers[5].operation = dense(Units::Hidden(64), DropoutPlace::None);
    layers[6].operation = dense(Units::Hidden(64), DropoutPlace::Before(half));
    assert_eq!(probabilities(&layers), behind);
}
