//! Writes a checkpoint: the same run, the same bytes.
//!
//! The safetensors crate keeps metadata in a hash map, whose order changes from run to run, so the header is written
//! here, in a fixed order; the crate reads it.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::RunState;
use crate::error::{IoContext, Result};
use crate::model::Parameters;
use crate::publish::{publish, unfinished};
use crate::shard::{CHANNELS, SIDE};

/// What the metadata's `format` says.
pub const FORMAT: &str = "alexnet-checkpoint";
/// The metadata's `version`, which this build writes and reads.
pub const VERSION: &str = "1";
/// The name of the mean image among the tensors.
pub const MEAN: &str = "mean";

/// A tensor: its name, dtype, shape and little-endian bytes.
pub(crate) struct Tensor<'a> {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    pub(crate) fn f32(name: String, shape: Vec<usize>, values: &'a [f32]) -> Self {
        Self { name, dtype: "F32", shape, bytes: bytemuck::cast_slice(values) }
    }
}

/// Writes a run's state, parameters and mean image at `path`, by rename.
pub fn write(path: &Path, state: &RunState, parameters: &Parameters, mean: &[u8]) -> Result<()> {
    write_safetensors(path, metadata(state), &tensors(parameters, mean))
}

/// Writes a safetensors file at `path`, by rename.
pub(crate) fn write_safetensors(path: &Path, metadata: Value, tensors: &[Tensor<'_>]) -> Result<()> {
    let header = header(metadata, tensors);
    let file = BufWriter::with_capacity(1 << 20, unfinished(path)?);
    let write_all = |mut file: BufWriter<NamedTempFile>| -> std::io::Result<NamedTempFile> {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for tensor in tensors {
            file.write_all(tensor.bytes)?;
        }
        Ok(file.into_inner()?)
    };
    publish(write_all(file).at("write", path)?, path)
}

fn tensors<'a>(parameters: &'a Parameters, mean: &'a [u8]) -> Vec<Tensor<'a>> {
    let mut tensors = Vec::new();
    for (prefix, values) in [("", &parameters.values), ("velocity.", &parameters.velocities)] {
        for layer in parameters.layout.layers() {
            let tensor = |part, shape, range: &std::ops::Range<usize>| {
                Tensor::f32(format!("{prefix}{}.{part}", layer.name), shape, &values[range.clone()])
            };
            tensors.push(tensor("weight", layer.weight_shape.clone(), &layer.weight));
            tensors.push(tensor("bias", vec![layer.bias.len()], &layer.bias));
        }
    }
    let shape = vec![CHANNELS, SIDE, SIDE];
    tensors.push(Tensor { name: MEAN.into(), dtype: "U8", shape, bytes: mean });
    tensors
}

fn header(metadata: Value, tensors: &[Tensor<'_>]) -> String {
    let mut header = Map::new();
    header.insert("__metadata__".into(), metadata);
    let mut offset = 0;
    for Tensor { name, dtype, shape, bytes } in tensors {
        let end = offset + bytes.len();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut text = Value::Object(header).to_string();
    // The format asks for tensors at multiples of 8.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

fn metadata(state: &RunState) -> Value {
    let json_of = |value: Result<String, serde_json::Error>| value.expect("a run's state is plain data");
    json!({
        "format": FORMAT,
        "version": VERSION,
        "step": state.step.to_string(),
        "epoch": state.epoch.to_string(),
        "seed": state.recipe.settings.train.seed.to_string(),
        "classes": json_of(serde_json::to_string(&state.classes)),
        "recipe": state.recipe.to_toml(),
        "dataset": state.dataset,
        "statistics": json_of(serde_json::to_string(&state.statistics)),
        "schedule": json_of(serde_json::to_string(&state.schedule)),
    })
}
