//! safetensors under the names of torchvision's AlexNet, which its `load_state_dict` accepts.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::metadata;
use crate::error::{Error, Result};
use crate::model::Block;
use crate::train::checkpoint::write::{Tensor, write_safetensors};
use crate::train::experiment::Experiment;
use crate::weights::torch::{LAYERS, NUM_CONVS};

pub(super) fn write(out: &Path, experiment: &Experiment) -> Result<Vec<PathBuf>> {
    let parameters = &experiment.parameters;
    let layers = parameters.layout.layers();
    let num_convs = experiment.network.layers.iter().filter(|layer| matches!(layer.block, Block::Conv(_))).count();
    if (num_convs, layers.len()) != (NUM_CONVS, LAYERS.len()) {
        return Err(Error::data(
            out,
            format!(
                "not written: {num_convs} convolutions of {} layers, for which torchvision's AlexNet has no names; \
                 --format onnx has no such limit",
                layers.len()
            ),
        ));
    }
    let tensors = layers.iter().zip(LAYERS).flat_map(|(layer, name)| {
        let values = &parameters.values;
        [
            Tensor::f32(format!("{name}.weight"), layer.weight_shape.clone(), &values[layer.weight.clone()]),
            Tensor::f32(format!("{name}.bias"), vec![layer.bias.len()], &values[layer.bias.clone()]),
        ]
    });
    let mut header: Map<String, Value> =
        metadata(experiment).into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    // What the libraries of PyTorch expect of a safetensors file.
    header.insert("format".into(), "pt".into());
    write_safetensors(out, header.into(), &tensors.collect::<Vec<_>>())?;
    Ok(vec![out.to_path_buf()])
}
