//! What `export` writes is read back bit for bit, and computed alike by other programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use alexnet::model::Parameters;
use alexnet::model::init::initial_parameters;
use alexnet::recipe::Recipe;
use alexnet::shard::SAMPLE_BYTES;
use alexnet::train::checkpoint::{RunState, write};
use alexnet::weights::export::{ExportOptions, Target, export};
use alexnet::weights::{Given, Origin, open};

use super::narrow::{given, hashed, path, predicted};

/// A narrow checkpoint by a built-in recipe, of ten classes, with a mean image of its own.
fn checkpoint(folder: &Path, recipe: &str, sets: &[&str]) -> (PathBuf, Parameters) {
    let mut all =
        ["model.width=0.01", "augment.crop=97", "augment.canvas=99", "model.init=he"].map(str::to_owned).to_vec();
    all.extend(sets.iter().map(|&set| set.to_owned()));
    let recipe = Recipe::load(recipe, &all).unwrap();
    let state = RunState::untrained(recipe, (0..10).map(|label| format!("class {label}")).collect());
    let mut parameters = initial_parameters(&state.network().unwrap(), 3);
    // He's scheme starts fc8 with 0.01 and biases with 0, which would show less.
    for layer in parameters.layout.clone().layers() {
        let biases = hashed(layer.bias.len(), 1).map(|bits| bits as f32 / (1 << 26) as f32);
        parameters.values[layer.bias.clone()].iter_mut().zip(biases).for_each(|(bias, value)| *bias = value);
    }
    let mean: Vec<u8> = hashed(SAMPLE_BYTES, 7).map(|bits| 100 + (bits % 32) as u8).collect();
    let file = folder.join(format!("{}.checkpoint", state.recipe.name));
    write::write(&file, &state, &parameters, &mean).unwrap();
    (file, parameters)
}

fn exported(checkpoint: &Path, target: Target, out: PathBuf) -> PathBuf {
    let options = ExportOptions { checkpoint: checkpoint.into(), given: Given::default(), target, out: out.clone() };
    let (files, origin) = export(&options).unwrap();
    assert!(files.contains(&out) && files.iter().all(|file| file.is_file()), "{files:?}");
    assert_eq!(origin, Origin::Ours);
    out
}

#[test]
fn an_export_for_torch_is_read_back_bit_for_bit_with_mean_classes_and_recipe() {
    let folder = tempfile::tempdir().unwrap();
    for recipe in ["alexnet", "two-tower", "small", "torchvision", "zfnet", "code2012"] {
        let (file, _) = checkpoint(folder.path(), recipe, &[]);
        let original = open(&file, &Given::default()).unwrap().experiment;
        let out = exported(&file, Target::Torch, folder.path().join(format!("{recipe}.safetensors")));
        let back = open(&out, &Given::default()).unwrap();
        assert!(matches!(back.origin, Origin::Converted(_)));
        assert!(back.experiment.parameters.values == original.parameters.values, "{recipe}");
        assert_eq!(back.experiment.state.recipe, original.state.recipe);
        assert_eq!(back.experiment.state.classes, original.state.classes);
        assert!(back.experiment.mean == original.mean);
    }
}

#[test]
fn an_export_for_caffe_is_read_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    // 97 + 2: pooling ends at the edges, as Caffe needs it.
    for recipe in ["alexnet", "caffe", "caffenet", "small", "code2012"] {
        let (file, parameters) = checkpoint(folder.path(), recipe, &["augment.canvas=99"]);
        let original = open(&file, &Given::default()).unwrap().experiment;
        let out = exported(&file, Target::Caffe, folder.path().join(format!("{recipe}.caffemodel")));
        let with_recipe = Given { recipe: Some(original.state.recipe.clone()), ..Given::default() };
        let back = open(&out, &with_recipe).unwrap().experiment;
        assert!(back.parameters.values == parameters.values, "{recipe}");
        // The file itself says which network it is, but for how dropout is scaled.
        let own = open(&out, &Given { mean: Some(out.with_extension("mean.binaryproto")), ..Given::default() });
        let own = own.unwrap().experiment;
        let blocks = |network: &alexnet::model::Network| {
            network
                .layers
                .iter()
                .map(|layer| (layer.block.weight_shape(), layer.block.output_values()))
                .collect::<Vec<_>>()
        };
        assert_eq!(blocks(&own.network), blocks(&original.network), "{recipe}");
        let lrn = |recipe: &Recipe| (recipe.settings.model.lrn.place, recipe.settings.model.lrn.alpha as f32);
        assert_eq!(lrn(&own.state.recipe), lrn(&original.state.recipe), "{recipe}");
        assert!(own.mean == original.mean, "{recipe}");
    }
}

#[test]
fn an_imported_file_is_exported_with_its_own_mean() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("torchvision.safetensors");
    let options = ExportOptions {
        checkpoint: path("torchvision.pth"),
        given: given("torchvision"),
        target: Target::Torch,
        out: out.clone(),
    };
    export(&options).unwrap();
    assert_eq!(predicted(out, Given::default()), predicted(path("torchvision.pth"), given("torchvision")));
}

#[test]
fn a_network_that_caffe_would_pool_otherwise_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = checkpoint(folder.path(), "alexnet", &["augment.canvas=103"]);
    let out = folder.path().join("net.caffemodel");
    let options = ExportOptions { checkpoint: file, given: Given::default(), target: Target::Caffe, out: out.clone() };
    let message = export(&options).unwrap_err().to_string();
    assert!(message.contains("conv1 pools 24 x 24 values by 2") && !out.exists(), "{message}");
}

/// `tools/test` runs it where `python3` has ONNX Runtime; ALEXNET_PYTHON names another Python.
#[test]
#[ignore = "needs ONNX Runtime"]
fn other_programs_compute_the_same_needs_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let mut probabilities = BTreeMap::new();
    for recipe in ["alexnet", "two-tower", "small", "torchvision", "caffe", "caffenet", "code2012"] {
        // OpenCV takes Caffe's k for 1: with it, it computes a scaled input and LRN before ReLU too.
        let sets = if ["small", "code2012"].contains(&recipe) { &["model.lrn.k=1"][..] } else { &[] };
        let (file, _) = checkpoint(folder.path(), recipe, sets);
        exported(&file, Target::Onnx, folder.path().join(format!("{recipe}.onnx")));
        exported(&file, Target::Torch, folder.path().join(format!("{recipe}.safetensors")));
        if recipe != "torchvision" {
            exported(&file, Target::Caffe, folder.path().join(format!("{recipe}.caffemodel")));
        }
        let logarithms = predicted(file, Given::default());
        probabilities.insert(recipe, logarithms.iter().map(|value| value.exp()).collect::<Vec<_>>());
    }
    let json = serde_json::to_string(&probabilities).unwrap();
    std::fs::write(folder.path().join("probabilities.json"), json).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/check_exports.py");
    let python = std::env::var("ALEXNET_PYTHON").unwrap_or_else(|_| "python3".into());
    let status = Command::new(python).arg(script).arg(folder.path()).status().unwrap();
    assert!(status.success(), "{status}");
}
