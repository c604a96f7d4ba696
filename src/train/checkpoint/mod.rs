//! Checkpoints: safetensors that any framework reads, complete enough to resume, evaluate and predict from.
//!
//! Another program needs no more than a reader of that format:
//!
//! ```
//! use alexnet::backend::{Choice, DeviceChoice};
//! use alexnet::train::options::{Data, TrainOptions};
//! use alexnet::train::server::Address;
//! use alexnet::train::{stop::Stop, train};
//! # use alexnet::pack::{options::PackOptions, pack_dataset};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (photos, out) = (folder.path().join("photos"), folder.path().join("out"));
//! # for (class, colour) in [("dark", 40), ("light", 200)] {
//! #     std::fs::create_dir_all(photos.join(class))?;
//! #     for number in 0..8 {
//! #         let image = image::RgbImage::from_pixel(256, 256, image::Rgb([colour, colour, number]));
//! #         image.save(photos.join(class).join(format!("{number}.png")))?;
//! #     }
//! # }
//! # pack_dataset(&PackOptions::new(&photos, &out))?;
//! let sets = ["model.width=0.05", "augment.crop=64", "augment.canvas=67", "train.batch_size=4"];
//! let outcome = train(
//!     &TrainOptions {
//!         run: Some(folder.path().join("run")),
//!         recipe: Some("small".into()),
//!         sets: sets.map(String::from).to_vec(),
//!         steps: Some(1),
//!         compute: Choice::of(DeviceChoice::Cpu),
//!         metrics: Address::Off,
//!         ..TrainOptions::new(Data::Shards(out))
//!     },
//!     &Stop::default(),
//! )?;
//! let bytes = std::fs::read(outcome.checkpoint.expect("a run on shards writes one"))?;
//! let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
//! assert_eq!(tensors.tensor("conv1.weight")?.shape(), [8, 3, 11, 11]);
//! assert_eq!(tensors.tensor("fc8.bias")?.shape(), [2]);
//! # Ok(())
//! # }
//! ```

pub mod read;
pub mod write;

use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::model::{Network, Parameters};
use crate::recipe::Recipe;
use crate::shard::dataset::PixelStatistics;
use crate::train::schedule::Schedule;

/// A run at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub state: RunState,
    /// Weights, biases and velocities.
    pub parameters: Parameters,
    /// The mean image, (3, 256, 256), whole numbers on the 0-255 scale.
    pub mean: Vec<u8>,
}

/// Everything of a run but its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct RunState {
    /// Steps that are done.
    pub step: u64,
    /// The epoch of the next step.
    pub epoch: u32,
    /// Every hyperparameter of the run.
    pub recipe: Recipe,
    /// Class names in the order of their labels.
    pub classes: Vec<String>,
    /// The id of the dataset that the run trains on.
    pub dataset: String,
    /// The training split's pixel statistics.
    pub statistics: PixelStatistics,
    /// What the learning rate depends on.
    pub schedule: Schedule,
}

impl RunState {
    /// That of a network which no dataset of ours has trained.
    pub fn untrained(recipe: Recipe, classes: Vec<String>) -> Self {
        let unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self {
            step: 0,
            epoch: 0,
            recipe,
            classes,
            dataset: "none".into(),
            statistics: PixelStatistics { channel_mean: [0.0; 3], pca_deviation: [0.0; 3], pca_vectors: unit },
            schedule: Schedule::default(),
        }
    }

    /// The network that the checkpoint's tensors are of.
    pub fn network(&self) -> Result<Network> {
        Network::new(&self.recipe.settings.model, self.recipe.settings.augment.canvas, self.classes.len())
    }
}

/// The name of the checkpoint after `step` steps: `step-00000100.safetensors`.
pub fn file_name(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

/// The checkpoints of a run's folder `checkpoints/`, by rising step.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).at("read", folder)? {
        let path = entry.at("read", folder)?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Deletes all checkpoints but the first (step 0), the best and the newest `keep`.
pub fn prune(folder: &Path, keep: usize, best_step: u64) -> Result<()> {
    let all = list(folder)?;
    let num_old = all.len().saturating_sub(keep);
    for (step, path) in &all[..num_old] {
        if *step != 0 && *step != best_step {
            std::fs::remove_file(path).at("delete", path)?;
        }
    }
    Ok(())
}

/// Copies the weights of the checkpoint at `path` into a network's parameters: `--init`.
pub fn init_from(path: &Path, classes: &[String], parameters: &mut Parameters) -> Result<()> {
    let other = read::read(path)?;
    let advice = format!(
        "it was trained with model.width = {}, model.towers = {} on {} classes; \
         give this run the same, or another --init",
        other.state.recipe.settings.model.width,
        other.state.recipe.settings.model.towers,
        other.state.classes.len()
    );
    for (ours, theirs) in parameters.layout.layers().iter().zip(other.parameters.layout.layers()) {
        if ours.weight_shape != theirs.weight_shape {
            return Err(Error::data(
                path,
                format!(
                    "{}.weight: expected {:?}, found {:?}; {advice}",
                    ours.name, ours.weight_shape, theirs.weight_shape
                ),
            ));
        }
    }
    check_classes(path, &other.state, classes)?;
    parameters.values.copy_from_slice(&other.parameters.values);
    Ok(())
}

/// Refuses a checkpoint of other classes than the dataset's.
pub fn check_classes(path: &Path, state: &RunState, classes: &[String]) -> Result<()> {
    if state.classes.len() != classes.len() {
        return Err(Error::data(
            path,
            format!(
                "trained on {} classes, but the dataset has {}; use the dataset it was trained on",
                state.classes.len(),
                classes.len()
            ),
        ));
    }
    match state.classes.iter().zip(classes).enumerate().find(|(_, (theirs, ours))| theirs != ours) {
        None => Ok(()),
        Some((label, (theirs, ours))) => Err(Error::data(
            path,
            format!(
                "class {label} is {theirs:?} there, but {ours:?} in the dataset; use the dataset it was trained on"
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
