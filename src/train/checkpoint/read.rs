//! Reads a checkpoint, and says exactly what is wrong with one that cannot be read.
// The map is unsafe because another process could shrink the file under it. Checkpoints appear by rename and are never
// written again.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use super::write::{FORMAT, MEAN, VERSION};
use super::{Checkpoint, RunState};
use crate::error::{Error, IoContext, Result};
use crate::model::{ParameterLayout, Parameters};
use crate::recipe::{Recipe, limits};
use crate::shard::{CHANNELS, SIDE};

/// Reads the checkpoint at `path`.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let file = File::open(path).at("open", path)?;
    // SAFETY: the map is read only, and checkpoints are never written after they appeared under their name.
    let map = unsafe { Mmap::map(&file) }.at("map", path)?;
    let broken = |error| Error::data(path, format!("not a whole safetensors file: {error}; use another checkpoint"));
    let (_, header) = SafeTensors::read_metadata(&map).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&map).map_err(broken)?;
    let state = state(path, |key| header.metadata().as_ref()?.get(key).map(String::as_str))?;
    let mut parameters = Parameters::zeros(ParameterLayout::new(&state.network()?));
    let layout = parameters.layout.clone();
    for (prefix, values) in [("", &mut parameters.values), ("velocity.", &mut parameters.velocities)] {
        for layer in layout.layers() {
            let mut copy = |part: &str, shape: &[usize], range: std::ops::Range<usize>| {
                let bytes = tensor(path, &tensors, &format!("{prefix}{}.{part}", layer.name), Dtype::F32, shape)?;
                bytemuck::cast_slice_mut(&mut values[range]).copy_from_slice(bytes);
                Ok::<_, Error>(())
            };
            copy("weight", &layer.weight_shape, layer.weight.clone())?;
            copy("bias", &[layer.bias.len()], layer.bias.clone())?;
        }
    }
    let mean = tensor(path, &tensors, MEAN, Dtype::U8, &[CHANNELS, SIDE, SIDE])?.to_vec();
    Ok(Checkpoint { state, parameters, mean })
}

fn state<'a>(path: &Path, get: impl Fn(&str) -> Option<&'a str>) -> Result<RunState> {
    let text = |key: &str| {
        get(key).ok_or_else(|| {
            Error::data(
                path,
                format!("its metadata has no {key:?}: not a checkpoint of `train`; use one that it wrote"),
            )
        })
    };
    let (format, version) = (text("format")?, text("version")?);
    if (format, version) != (FORMAT, VERSION) {
        return Err(Error::data(
            path,
            format!("format {format} version {version}, this build reads {FORMAT} version {VERSION}"),
        ));
    }
    let recipe = Recipe::parse("recipe", text("recipe")?, &format!("the recipe in {}", path.display()))?;
    limits::check(&recipe.settings)?;
    Ok(RunState {
        step: json(path, "step", text("step")?)?,
        epoch: json(path, "epoch", text("epoch")?)?,
        recipe,
        classes: json(path, "classes", text("classes")?)?,
        dataset: text("dataset")?.to_owned(),
        statistics: json(path, "statistics", text("statistics")?)?,
        schedule: json(path, "schedule", text("schedule")?)?,
    })
}

fn json<T: DeserializeOwned>(path: &Path, key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::data(path, format!("its metadata's {key:?}: {error}")))
}

fn tensor<'a>(path: &Path, tensors: &SafeTensors<'a>, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
    let view = tensors.tensor(name).map_err(|_| Error::data(path, format!("it has no tensor {name}")))?;
    if view.dtype() != dtype || view.shape() != shape {
        return Err(Error::data(
            path,
            format!("{name}: expected {dtype:?} {shape:?}, found {:?} {:?}", view.dtype(), view.shape()),
        ));
    }
    Ok(view.data())
}
