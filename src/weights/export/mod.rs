//! A checkpoint for other programs.
//!
//! In: a checkpoint, or any file of weights that this build reads. Out: a file of PyTorch's, ONNX's or Caffe's kind,
//! and what goes beside it. All compute in evaluation what our network does: the scale of dropout is in their weights.

mod caffe;
mod onnx;
mod onnx_proto;
mod torch;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Given, Opened, Origin, open};
use crate::error::Result;
use crate::input::Frame;
use crate::train::experiment::Experiment;

/// Whose file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// safetensors under torchvision's names.
    Torch,
    /// A graph that any ONNX runtime computes.
    Onnx,
    /// A .caffemodel, with its prototxt, mean image and class names beside it.
    Caffe,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "torch" => Ok(Self::Torch),
            "onnx" => Ok(Self::Onnx),
            "caffe" => Ok(Self::Caffe),
            _ => Err("expected torch, onnx or caffe".into()),
        }
    }
}

/// What `export` is asked for.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The checkpoint, or another file of weights.
    pub checkpoint: PathBuf,
    /// What is said about it beside it.
    pub given: Given,
    /// Whose file is written.
    pub target: Target,
    /// The file to write.
    pub out: PathBuf,
}

/// Writes the file and what goes beside it. Gives their paths, and what was converted if the weights were another
/// program's.
pub fn export(options: &ExportOptions) -> Result<(Vec<PathBuf>, Origin)> {
    let ExportOptions { checkpoint, given, target, out } = options;
    let Opened { mut experiment, origin } = open(checkpoint, given)?;
    fold_dropout(&mut experiment);
    let files = match target {
        Target::Torch => torch::write(out, &experiment)?,
        Target::Onnx => onnx::write(out, experiment)?,
        Target::Caffe => caffe::write(out, &experiment)?,
    };
    Ok((files, origin))
}

/// Multiplies the weights by what evaluation multiplies their inputs by; with the usual 1/2, exactly.
fn fold_dropout(experiment: &mut Experiment) {
    let Experiment { network, parameters, .. } = experiment;
    for (place, scale) in parameters.layout.layers().iter().zip(network.eval_scales()) {
        if scale != 1.0 {
            parameters.values[place.weight.clone()].iter_mut().for_each(|weight| *weight *= scale);
        }
    }
}

/// What another program must know beside the weights, as keys and values.
fn metadata(experiment: &Experiment) -> Vec<(&'static str, String)> {
    let Experiment { state, mean, augmentation, .. } = experiment;
    let Frame { crop, canvas, scale } = augmentation.frame();
    let json_of = |value: Result<String, serde_json::Error>| value.expect("plain data");
    vec![
        ("written_by", concat!("alexnet ", env!("CARGO_PKG_VERSION")).into()),
        ("recipe", state.recipe.to_toml()),
        ("classes", json_of(serde_json::to_string(&state.classes))),
        ("input", input_form(crop, canvas)),
        ("crop", crop.to_string()),
        ("canvas", canvas.to_string()),
        ("scale", scale.to_string()),
        ("mean", BASE64.encode(mean)),
        ("mean_fraction", json_of(serde_json::to_string(&augmentation.shift().map(|shift| -shift)))),
    ]
}

/// How an image becomes an input, in words.
fn input_form(crop: usize, canvas: usize) -> String {
    let zeros = if crop < canvas { format!(" at the top left of {canvas} x {canvas} zeros") } else { String::new() };
    format!(
        "(N, 3, {canvas}, {canvas}): red, green and blue of 0-255; the image's shorter side scaled to 256 and its \
         centre 256 x 256 cropped; minus mean, base64 of uint8 (3, 256, 256), and mean_fraction of each channel; times \
         scale; of it the centre {crop} x {crop}{zeros}"
    )
}

fn beside(out: &Path, ending: &str) -> PathBuf {
    out.with_extension(ending)
}
