//! Whole steps against PyTorch's numbers, which `tests/reference/make_reference.py` wrote.

use std::path::PathBuf;

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::{Backend, BackendOptions, Pass, Slot};
use alexnet::input::{Batch, Values};
use alexnet::model::{Network, ParameterLayout, Parameters};
use alexnet::recipe::Recipe;
use alexnet::recipe::settings::{DropoutScaling, LrnPlace, LrnSettings, ModelSettings, UpdateRule};
use safetensors::SafeTensors;

use super::steps::run;

/// How far each kind of tensor may be from PyTorch's, which is computed in f64: the largest difference over the
/// largest value of the tensor. Rounding to f32 alone costs 6e-8. Each is three to four times what was measured,
/// since other processors add in other orders; a wrong term is off by far more.
const TOLERANCES: [(&str, f64, &str); 8] = [
    ("evaluation", 5e-7, "a loss sums four logarithms in f64; the counts are exact"),
    ("probabilities", 4e-6, "a probability changes by as much as its logit, which may be large beside it"),
    ("losses", 1e-6, "as the evaluation's, of weights that drifted over up to nine steps"),
    ("gradient.weight", 6e-6, "sums over images and positions of values that passed up to sixteen layers of rounding"),
    ("gradient.bias", 4e-6, "as the weights', of plain sums"),
    ("velocity", 8e-6, "ten gradients, each of weights that drifted further"),
    ("final.weight", 1e-6, "ten roundings of the weight itself, and a step's small part of the velocity's error"),
    ("final.bias", 1e-6, "as the weights'"),
];

const NUM_CLASSES: usize = 10;
const CANVAS: usize = 99;
const BATCH_SIZE: usize = 4;
const NUM_STEPS: usize = 10;

/// A file of numbers.
struct Reference {
    name: String,
    bytes: Vec<u8>,
}

impl Reference {
    fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/data/{name}.safetensors"));
        Self { name: name.to_string(), bytes: std::fs::read(path).unwrap() }
    }

    fn bytes(&self, tensor: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(tensor).unwrap().data().to_vec()
    }

    fn f32(&self, tensor: &str) -> Vec<f32> {
        self.bytes(tensor).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Holds `values` against the file's, to the tolerance of the first kind that the name begins and ends with.
    fn assert_agrees(&self, tensor: &str, values: &[f32]) {
        let expected = self.f32(tensor);
        assert_eq!(values.len(), expected.len(), "{}: {tensor}", self.name);
        let is_kind = |kind: &str| {
            let (start, end) = kind.split_once('.').unwrap_or((kind, ""));
            tensor.starts_with(start) && tensor.ends_with(end)
        };
        let (_, tolerance, _) = TOLERANCES.iter().find(|(kind, ..)| is_kind(kind)).unwrap();
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
        let pairs = values.iter().zip(&expected).map(|(value, expected)| (f64::from(*value), f64::from(*expected)));
        let difference = pairs.map(|(value, expected)| (value - expected).abs()).fold(0.0, f64::max) / largest;
        println!("{}: {tensor}: {difference:.1e} of {tolerance:.0e}", self.name);
        assert!(difference <= *tolerance, "{}: {tensor}: {difference:.1e} > {tolerance:.0e}", self.name);
    }
}

fn settings() -> ModelSettings {
    let lrn = LrnSettings { alpha: 0.02, ..LrnSettings::default() };
    ModelSettings { width: 0.02, dropout: 0.0, lrn, ..ModelSettings::default() }
}

fn with_lrn(place: LrnPlace) -> ModelSettings {
    ModelSettings { lrn: LrnSettings { place, ..settings().lrn }, ..settings() }
}

/// The file's images (NUM_BATCHES, BATCH_SIZE, 3, CANVAS, CANVAS) are whole numbers, 64 times the input's values.
fn batches() -> Vec<Batch> {
    let file = Reference::open("batches");
    let images: Vec<_> = file.bytes("images").iter().map(|byte| f32::from(*byte as i8) / 64.0).collect();
    let labels: Vec<_> =
        file.bytes("labels").as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as u32).collect();
    let images = images.chunks(BATCH_SIZE * 3 * CANVAS * CANVAS).zip(labels.chunks(BATCH_SIZE));
    let batch = |(images, labels): (&[f32], &[u32])| Batch {
        step: 0,
        epoch: 0,
        num_valid: BATCH_SIZE,
        values: Values::F32(images.into()),
        labels: labels.to_vec(),
    };
    images.map(batch).collect()
}

/// Holds the tensors of a flat buffer against the file's.
fn assert_all_agree(file: &Reference, kind: &str, layout: &ParameterLayout, values: &[f32]) {
    for layer in layout.layers() {
        file.assert_agrees(&format!("{kind}.{}.weight", layer.name), &values[layer.weight.clone()]);
        file.assert_agrees(&format!("{kind}.{}.bias", layer.name), &values[layer.bias.clone()]);
    }
}

fn assert_steps_agree(case: &str, settings: &ModelSettings) {
    let file = Reference::open(case);
    let network = Network::new(settings, CANVAS, NUM_CLASSES).unwrap();
    let options = BackendOptions {
        batch_size: BATCH_SIZE,
        seed: 20_121_203,
        update: UpdateRule { weight_decay: 0.01, ..UpdateRule::PAPER },
        label_smoothing: 0.0,
    };
    let mut backend = CpuBackend::new(&network, options, None);
    let mut parameters = Parameters::zeros(ParameterLayout::new(&network));
    for layer in parameters.layout.layers() {
        let tensor = |part: &str| file.f32(&format!("initial.{}.{part}", layer.name));
        parameters.values[layer.weight.clone()].copy_from_slice(&tensor("weight"));
        parameters.values[layer.bias.clone()].copy_from_slice(&tensor("bias"));
    }
    backend.load(&parameters).unwrap();

    let mut batches = batches();
    let (statistics, batch) = run(&mut backend, Pass::Eval, 0, 0.0, batches[0].clone());
    file.assert_agrees("probabilities", backend.probabilities(Slot::Even).unwrap());
    let counts = [statistics.num_top1 as f32, statistics.num_top5 as f32];
    file.assert_agrees("evaluation", &[statistics.loss_sum as f32, counts[0], counts[1]]);
    batches[0] = batch;

    let mut losses = Vec::new();
    for number in 0..NUM_STEPS {
        let which = number % batches.len();
        let (statistics, _) = run(&mut backend, Pass::Train, number as u64, 0.002, batches[which].clone());
        losses.push(statistics.loss_sum as f32);
        if number == 0 {
            backend.gradients(&mut parameters).unwrap();
            assert_all_agree(&file, "gradient", &parameters.layout, &parameters.values);
        }
    }
    file.assert_agrees("losses", &losses);
    backend.store(&mut parameters).unwrap();
    assert_all_agree(&file, "final", &parameters.layout, &parameters.values);
    assert_all_agree(&file, "velocity", &parameters.layout, &parameters.velocities);
}

#[test]
fn one_tower_learns_as_in_pytorch() {
    assert_steps_agree("one-tower", &settings());
}

#[test]
fn two_towers_learn_as_in_pytorch() {
    assert_steps_agree("two-tower", &ModelSettings { towers: 2, ..settings() });
}

#[test]
fn normalisation_after_pooling_learns_as_in_pytorch() {
    assert_steps_agree("lrn-after-pool", &with_lrn(LrnPlace::AfterPool));
}

#[test]
fn normalisation_before_relu_learns_as_in_pytorch() {
    assert_steps_agree("lrn-before-relu", &with_lrn(LrnPlace::BeforeRelu));
}

#[test]
fn no_normalisation_learns_as_in_pytorch() {
    assert_steps_agree("lrn-off", &with_lrn(LrnPlace::Off));
}

/// A recipe's network at this width has 8 channels and 40 hidden units in each layer, 16 and 48 with two towers.
fn narrow(recipe: &str) -> ModelSettings {
    let model = Recipe::load(recipe, &[]).unwrap().settings.model;
    ModelSettings { width: 0.01, lrn: LrnSettings { alpha: 0.02, ..model.lrn.clone() }, ..model }
}

#[test]
fn torchvisions_recipe_learns_as_in_pytorch_with_the_same_units_dropped() {
    assert_steps_agree("torchvision", &narrow("torchvision"));
}

#[test]
fn zeiler_and_fergus_recipe_learns_as_in_pytorch() {
    assert_steps_agree("zfnet", &ModelSettings { dropout: 0.0, ..narrow("zfnet") });
}

#[test]
fn the_recipes_of_caffe_and_of_2012_learn_as_in_pytorch_with_the_same_units_dropped() {
    for recipe in ["caffe", "caffenet", "code2012"] {
        assert_steps_agree(recipe, &narrow(recipe));
    }
}

#[test]
fn dropout_scaled_in_evaluation_learns_as_in_pytorch_with_the_same_units() {
    assert_steps_agree("dropout-evaluation", &ModelSettings { dropout: 0.5, ..settings() });
}

#[test]
fn dropout_scaled_in_training_learns_as_in_pytorch_with_the_same_units() {
    let dropout_scaling = DropoutScaling::Training;
    assert_steps_agree("dropout-training", &ModelSettings { dropout: 0.25, dropout_scaling, ..settings() });
}
