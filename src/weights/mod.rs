//! Weights of other programs: read into a network of ours, in our layouts.
//!
//! In: a file, told apart by its content. Out: an [`Experiment`], or a run's first weights, and a line about what was
//! converted. The file is mapped, and its numbers are copied once, into [`Parameters`](crate::model::Parameters).

mod caffe;
mod caffe_proto;
mod classes;
pub mod export;
mod map;
mod mean;
mod npy;
mod pickle;
mod pretrained;
mod torch;
mod view;

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use self::pretrained::Pretrained;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::train::checkpoint;
use crate::train::experiment::Experiment;

/// What a person says about a file of weights.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The recipe of a file of another program, which may not say it itself.
    pub recipe: Option<Recipe>,
    /// A file with a class name a line, in the order of the labels.
    pub classes: Option<PathBuf>,
    /// The mean image that weights of another program were trained with, as Caffe's binaryproto.
    pub mean: Option<PathBuf>,
}

/// A network that was read from a file.
#[derive(Debug)]
pub struct Opened {
    /// The network, its weights, and how it sees samples.
    pub experiment: Experiment,
    /// Whose file it was.
    pub origin: Origin,
}

/// Whose file the weights are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A checkpoint of `train`.
    Ours,
    /// Another program's: what was converted, in a line.
    Converted(String),
}

/// Reads a checkpoint of `train`, or the weights of another program.
pub fn open(path: &Path, given: &Given) -> Result<Opened> {
    let Some(mut pretrained) = read(path)? else {
        return ours(path, given);
    };
    if let Some(file) = &given.mean {
        pretrained.input.mean = mean::read(file)?;
    }
    let (experiment, said) = pretrained.experiment(path, given)?;
    Ok(Opened { experiment, origin: Origin::Converted(said) })
}

/// Copies a file's weights into a run's first ones: `--init`.
pub fn init_from(path: &Path, experiment: &mut Experiment) -> Result<Origin> {
    match read(path)? {
        Some(pretrained) => Ok(Origin::Converted(pretrained.start(path, experiment)?)),
        None => {
            checkpoint::init_from(path, &experiment.state.classes, &mut experiment.parameters)?;
            Ok(Origin::Ours)
        }
    }
}

fn ours(path: &Path, given: &Given) -> Result<Opened> {
    if given.recipe.is_some() || given.mean.is_some() {
        return Err(Error::usage(format!(
            "--recipe and --mean are for weights of other programs; {} is a checkpoint and has its own",
            path.display()
        )));
    }
    let mut experiment = Experiment::read(path)?;
    if let Some(names) = &given.classes {
        let num_classes = experiment.network.num_classes;
        experiment.state.classes = classes::of_network(path, Some(names), None, num_classes)?.names;
    }
    Ok(Opened { experiment, origin: Origin::Ours })
}

/// The formats, as they are told apart.
enum Format {
    Safetensors,
    Zip,
    LegacyTorch,
    Npy,
    Caffe,
}

/// Reads a file of another program, or nothing if it is a checkpoint of ours.
fn read(path: &Path) -> Result<Option<Pretrained>> {
    let file = map::map(path)?;
    let format = format_of(&file).ok_or_else(|| {
        Error::data(
            path,
            format!(
                "no weights that this build reads: it begins with {:?}; expected a checkpoint of `train`, or AlexNet \
                 as torchvision's .safetensors or .pth, bvlc_alexnet.npy or a .caffemodel",
                String::from_utf8_lossy(&file[..file.len().min(16)])
            ),
        )
    })?;
    let pretrained = match format {
        Format::Safetensors => {
            let broken =
                |error| Error::data(path, format!("not a whole safetensors file: {error}; use another checkpoint"));
            let tensors = SafeTensors::deserialize(&file).map_err(broken)?;
            if !tensors.names().iter().any(|name| name.starts_with("features.")) {
                return Ok(None);
            }
            let (_, header) = SafeTensors::read_metadata(&file).map_err(broken)?;
            torch::read_safetensors(&file, &tensors, header.metadata().as_ref())
        }
        Format::Zip => torch::read_zip(&file),
        Format::LegacyTorch => torch::read_legacy(&file),
        Format::Npy => npy::read(&file),
        Format::Caffe => caffe::read(&file),
    };
    pretrained.map(Some).map_err(|problem| Error::data(path, problem))
}

fn format_of(file: &[u8]) -> Option<Format> {
    // safetensors begins with the length of its header, which is JSON.
    let is_safetensors = file.get(8) == Some(&b'{') || file.len() <= 8;
    if file.starts_with(b"PK\x03\x04") {
        Some(Format::Zip)
    } else if file.starts_with(torch::LEGACY_MAGIC) {
        Some(Format::LegacyTorch)
    } else if file.starts_with(npy::MAGIC) {
        Some(Format::Npy)
    } else if !is_safetensors && caffe::is_net(file) {
        Some(Format::Caffe)
    } else {
        is_safetensors.then_some(Format::Safetensors)
    }
}
