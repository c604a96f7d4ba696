//! The narrow networks of `tests/reference/make_weights.py`, whose weights are a hash of their places.

use std::path::PathBuf;

use alexnet::backend::{Choice, DeviceChoice};
use alexnet::evaluate::predict::{PredictOptions, predict};
use alexnet::model::{Network, ParameterLayout, Parameters};
use alexnet::recipe::Recipe;
use alexnet::weights::{Given, Origin, open};
use image::RgbImage;
use safetensors::SafeTensors;

pub const NUM_CLASSES: usize = 10;

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference/weights").join(name)
}

/// 24 bits of a hash of each place.
pub fn hashed(count: usize, salt: u64) -> impl Iterator<Item = u32> {
    (0..count as u64).map(move |place| {
        let mut x = (place * 2_654_435_761 + salt * 40_503) as u32;
        x ^= x >> 15;
        x = x.wrapping_mul(2_246_822_519);
        (x ^ (x >> 13)) >> 8
    })
}

/// A recipe for the narrow networks' inputs.
pub fn recipe(name: &str) -> Recipe {
    Recipe::load(name, &["augment.crop=99".into(), "augment.canvas=99".into()]).unwrap()
}

pub fn given(name: &str) -> Given {
    Given { recipe: Some(recipe(name)), ..Given::default() }
}

/// The weights as the script has them, in this project's layouts.
pub fn original(network: &Network) -> Parameters {
    let mut parameters = Parameters::zeros(ParameterLayout::new(network));
    let is_caffe = network.layers[0].block.num_biases() == 16;
    for (salt, layer) in parameters.layout.clone().layers().iter().enumerate() {
        let inputs: usize = layer.weight_shape[1..].iter().product();
        let mut bound = (6.0 / inputs as f64).sqrt().log2().round().exp2();
        if is_caffe && layer.name == "fc8" {
            bound /= 32.0;
        }
        let mut fill = |range: std::ops::Range<usize>, salt: usize, bound: f64| {
            let values = hashed(range.len(), salt as u64);
            for (value, bits) in parameters.values[range].iter_mut().zip(values) {
                *value = ((f64::from(bits) / f64::from(1 << 23) - 1.0) * bound) as f32;
            }
        };
        fill(layer.weight.clone(), 2 * salt, bound);
        fill(layer.bias.clone(), 2 * salt + 1, 0.125);
    }
    parameters
}

/// The weights that a file becomes, and what is said of it.
pub fn read(name: &str, given: &Given) -> (Network, Parameters, String) {
    let opened = open(&path(name), given).unwrap();
    let Origin::Converted(said) = opened.origin else { panic!("{name} is no checkpoint of ours") };
    (opened.experiment.network, opened.experiment.parameters, said)
}

/// PyTorch's logits for the image.
pub fn answers(case: &str) -> Vec<f64> {
    let bytes = std::fs::read(path("answers.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let logits = tensors.tensor(case).unwrap().data().as_chunks().0.iter().map(|value| f64::from_le_bytes(*value));
    logits.collect()
}

/// The image of the script, as a file.
pub fn write_image(path: &std::path::Path) {
    let planes: Vec<u8> = hashed(3 * 256 * 256, 99).map(|bits| (bits >> 16) as u8).collect();
    let pixel = |x: u32, y: u32| std::array::from_fn(|channel| planes[(channel * 256 + y as usize) * 256 + x as usize]);
    RgbImage::from_fn(256, 256, |x, y| image::Rgb(pixel(x, y))).save(path).unwrap();
}

/// The logarithms of the probabilities that `predict` gives for the image.
pub fn predicted(checkpoint: PathBuf, given: Given) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.png");
    write_image(&image);
    let options = PredictOptions {
        checkpoint,
        given,
        images: vec![image],
        top: NUM_CLASSES,
        compute: Choice::of(DeviceChoice::Cpu),
    };
    let predictions = predict(&options).unwrap();
    let mut logarithms = vec![f64::NAN; NUM_CLASSES];
    for likely in &predictions[0].classes {
        let label: usize = likely.class.trim_start_matches("class ").parse().unwrap();
        logarithms[label] = f64::from(likely.probability).ln();
    }
    logarithms
}

/// log(softmax(logits)).
pub fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - sum.ln()).collect()
}
