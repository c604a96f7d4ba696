//! Each format: its weights bit for bit, and the answer that they give against PyTorch's.

use alexnet::weights::Given;
use half::f16;

use super::narrow::{answers, given, log_softmax, original, path, predicted, read};

/// Logits of up to 18 in f32 against f64: each of eight layers rounds its sums to 6e-8 of their size. Measured: 1.1e-5;
/// an exchanged channel or a scale of another order is off by more than 0.01.
const TOLERANCE: f64 = 4e-5;

fn assert_answers(name: &str, given: Given, case: &str) {
    let (found, expected) = (predicted(path(name), given), log_softmax(&answers(case)));
    let differences = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
    let largest = differences.fold(0.0, f64::max);
    println!("{name}: {largest:.1e} of {TOLERANCE:.0e}");
    assert!(largest < TOLERANCE, "{name}: {found:?}, expected {expected:?}");
}

#[test]
fn torchvisions_files_are_read_bit_for_bit_but_for_the_scale_in_conv1() {
    for name in ["torchvision.safetensors", "torchvision.pth", "torchvision-legacy.pth"] {
        let (network, parameters, said) = read(name, &given("torchvision"));
        let mut expected = original(&network);
        let conv1 = expected.layout.layers()[0].weight.clone();
        for (channel, weights) in expected.values[conv1].chunks_exact_mut(121).enumerate() {
            let deviation = [0.229, 0.224, 0.225][channel % 3] * 255.0;
            let factor = 1.0 / deviation / f64::from(0.01735_f32);
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
        }
        assert!(parameters.values == expected.values, "{name}");
        assert!(said.contains("folded into conv1") && said.contains("(123.7, 116.3, 103.5)"), "{said}");
    }
}

#[test]
fn a_training_scripts_file_in_half_precision_is_read() {
    let (network, parameters, _) = read("torchvision-trained.pth", &given("torchvision"));
    let expected = original(&network);
    let fc7 = expected.layout.layers()[6].all();
    let halves: Vec<f32> = expected.values[fc7.clone()].iter().map(|value| f16::from_f32(*value).to_f32()).collect();
    assert_eq!(parameters.values[fc7], halves);
    // Stored with its channels last.
    let conv3 = expected.layout.layers()[2].weight.clone();
    let halves: Vec<f32> = expected.values[conv3.clone()].iter().map(|value| f16::from_f32(*value).to_f32()).collect();
    assert_eq!(parameters.values[conv3], halves);
}

#[test]
fn caffes_files_are_read_bit_for_bit() {
    for name in ["bvlc_alexnet.npy", "caffe.npy", "caffe.caffemodel", "caffenet.caffemodel"] {
        let (network, parameters, said) = read(name, &given("caffe"));
        assert!(parameters.values == original(&network).values, "{name}");
        assert!(said.contains("blue, green, red to red, green, blue"), "{said}");
    }
}

#[test]
fn torchvisions_files_answer_as_in_pytorch() {
    for name in ["torchvision.safetensors", "torchvision.pth", "torchvision-legacy.pth"] {
        assert_answers(name, given("torchvision"), "torchvision.off");
    }
}

#[test]
fn caffes_files_answer_as_in_pytorch() {
    for name in ["bvlc_alexnet.npy", "caffe.npy", "caffe.caffemodel"] {
        assert_answers(name, given("caffe"), "caffe.before-pool");
    }
    assert_answers("caffenet.caffemodel", given("caffenet"), "caffe.after-pool");
}

#[test]
fn a_network_narrower_than_its_recipe_is_fitted() {
    let (network, ..) = read("caffe.caffemodel", &given("caffe"));
    let outputs: Vec<_> = network.layers.iter().map(|layer| layer.block.num_biases()).collect();
    assert_eq!(outputs, [16, 16, 16, 16, 16, 48, 48, 10]);
}
