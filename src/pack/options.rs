//! What `pack-shards` can be asked to do.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The default fraction of each class folder that goes to the validation split.
pub const DEFAULT_VAL_FRACTION: f64 = 0.1;
/// The default number of samples in a full shard: 202 MB.
pub const DEFAULT_SHARD_SAMPLES: u32 = 1024;

/// What to pack, where to, and how.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The folder of images to pack.
    pub data: PathBuf,
    /// The folder that the shards are written to.
    pub out: PathBuf,
    /// The fraction of each class that becomes the validation split, if the source has no such split.
    pub val_fraction: Option<f64>,
    /// A file with the classes of a flat folder of validation images.
    pub val_labels: Option<PathBuf>,
    /// A file with readable names of the classes.
    pub class_names: Option<PathBuf>,
    /// Limits the number of training images.
    pub max_train: Option<u64>,
    /// Limits the number of validation images.
    pub max_val: Option<u64>,
    /// What happens when an image cannot be read.
    pub bad_images: BadImages,
    /// Determines the order of the training samples.
    pub seed: u64,
    /// The number of samples in a full shard.
    pub shard_samples: u32,
    /// The number of threads that decode.
    pub num_threads: usize,
    /// Whether an earlier packing is resumed.
    pub begin: Begin,
}

impl PackOptions {
    /// Packs `data` into `out` with the defaults of the command line.
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
    /// Where an earlier packing of the same images stopped, if there was one.
    Resume,
    /// At the first image, after deleting what an earlier packing left in the folder.
    Over,
}

/// What to do about images that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BadImages {
    /// List them and continue, up to a limit.
    Skip(MaxBad),
    /// Stop at the first such image.
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
    /// This number of images.
    Count(u64),
    /// This percentage of the images.
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
