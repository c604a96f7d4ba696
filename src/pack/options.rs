//! What `pack-shards` can be asked to do.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The part of a folder per class that goes to the validation split unless another is asked for.
pub const DEFAULT_VAL_FRACTION: f64 = 0.1;
/// Samples of a full shard unless another number is asked for: 202 MB.
pub const DEFAULT_SHARD_SAMPLES: u32 = 1024;

/// What to pack, how, and where to.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The folder of images.
    pub data: PathBuf,
    /// The folder of shards.
    pub out: PathBuf,
    /// Of each class, to the validation split; only where the source has no such split.
    pub val_fraction: Option<f64>,
    /// The classes of a flat folder of validation images.
    pub val_labels: Option<PathBuf>,
    /// Names of the classes for people.
    pub class_names: Option<PathBuf>,
    /// At most so many images of the training split.
    pub max_train: Option<u64>,
    /// At most so many images of the validation split.
    pub max_val: Option<u64>,
    /// What to do about images that cannot be read.
    pub bad_images: BadImages,
    /// Of the order of the training samples.
    pub seed: u64,
    /// Samples of a full shard.
    pub shard_samples: u32,
    /// Workers that decode.
    pub num_threads: usize,
    /// Whether to go on where an earlier packing stopped.
    pub begin: Begin,
}

impl PackOptions {
    /// The defaults of the command line.
    pub fn new(data: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            out: out.into(),
            val_fraction: None,
            val_labels: None,
            class_names: None,
            max_train: None,
            max_val: None,
            bad_images: BadImages::Skip(MaxBad::default()),
            seed: 0,
            shard_samples: DEFAULT_SHARD_SAMPLES,
            num_threads: std::thread::available_parallelism().map_or(1, usize::from),
            begin: Begin::Resume,
        }
    }
}

/// Where packing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Where an earlier packing of the same images stopped.
    Resume,
    /// At the first image: what the folder holds of an earlier packing is deleted.
    Over,
}

/// What to do about images that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BadImages {
    /// List them and go on, up to a limit.
    Skip(MaxBad),
    /// Stop at the first.
    Stop,
}

impl BadImages {
    /// How many of `num_images` may be skipped.
    pub fn at_most(self, num_images: u64) -> u64 {
        match self {
            Self::Stop => 0,
            Self::Skip(MaxBad::Count(count)) => count,
            Self::Skip(MaxBad::Percent(percent)) => (num_images as f64 * percent / 100.0) as u64,
            Self::Skip(MaxBad::OnePercentOrTen) => (num_images / 100).max(10),
        }
    }
}

/// How many images may be skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MaxBad {
    /// 1% of the images, but at least 10.
    #[default]
    OnePercentOrTen,
    /// So many.
    Count(u64),
    /// A part of the images.
    Percent(f64),
}

impl FromStr for MaxBad {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::usage(format!("expected a count or a percentage like 25 or 2.5%, found {text:?}"));
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_count_or_a_percentage() {
        let at_most = |text: &str| BadImages::Skip(text.parse().unwrap()).at_most(5000);
        assert_eq!([at_most("7"), at_most("2.5%"), at_most("0%"), at_most("0")], [7, 125, 0, 0]);
        for wrong in ["-1", "1.5", "101%", "-1%", "NaN%", "", "%", "many"] {
            assert!(wrong.parse::<MaxBad>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ten_images_may_be_bad_however_few_there_are() {
        let default = BadImages::Skip(MaxBad::default());
        assert_eq!([default.at_most(30), default.at_most(1_281_167)], [10, 12_811]);
    }
}
