//! The source of the images: a folder in any of the layouts that datasets are published in.
//!
//! In: a folder. Out: numbered entries of each split, in an order that depends on names alone, and a [`SourceReader`]
//! for their bytes. The list of entries is on disk; memory holds the names of one class folder at a time.

mod classes;
mod detect;
mod idx;
mod index;
mod labels;
mod list;
mod read;
mod tar;
pub(crate) mod walk;

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

pub use self::classes::Classes;
pub use self::index::Index;
pub use self::read::{Container, SourceReader};
use self::walk::{FolderId, Walker};
use super::decode::{Unreadable, is_image};
use super::options::{DEFAULT_VAL_FRACTION, PackOptions};
use crate::error::{Error, Result};
use crate::philox::{self, Purpose};
use crate::shard::Split;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLayout {
    SplitFolders,
    ClassFolders,
    ImageNet,
    ImageNetTar,
    Idx,
}

impl SourceLayout {
    /// The name in `dataset.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SplitFolders => "split-folders",
            Self::ClassFolders => "class-folders",
            Self::ImageNet => "imagenet",
            Self::ImageNetTar => "imagenet-tar",
            Self::Idx => "idx",
        }
    }

    /// The name in messages.
    pub fn description(self) -> &'static str {
        match self {
            Self::SplitFolders => "train/ and val/ with a folder per class",
            Self::ClassFolders => "a folder per class",
            Self::ImageNet => "ImageNet: train/ with a folder per class, flat val/",
            Self::ImageNetTar => "ImageNet's archives",
            Self::Idx => "IDX files",
        }
    }
}

/// A source that was recognised but not listed yet: nothing has been written.
#[derive(Debug)]
pub struct FoundSource {
    found: detect::FoundLayout,
}

impl FoundSource {
    pub fn detect(options: &PackOptions) -> Result<Self> {
        let labels = if options.val_labels.is_some() { detect::ValLabels::Given } else { detect::ValLabels::None };
        let found = detect::detect(&options.data, walker(options), labels)?;
        let flat_val = matches!(found, detect::FoundLayout::ImageNet { .. } | detect::FoundLayout::ImageNetTar { .. });
        if options.val_labels.is_some() && !flat_val {
            let problem =
                "--val-labels is for a flat folder or archive of validation images, which this source has not";
            return Err(Error::data(&options.data, problem));
        }
        Ok(Self { found })
    }

    /// Lists every image in files in `workspace`.
    pub fn list(self, options: &PackOptions, workspace: &Path) -> Result<Source> {
        let source = list::list(self.found, options, walker(options), workspace)?;
        source.classes.check(&options.data)?;
        source.check_images(&options.data)?;
        Ok(source)
    }
}

fn walker(options: &PackOptions) -> Walker {
    Walker { out: FolderId::of(&options.out).ok() }
}

#[derive(Debug)]
pub struct Source {
    pub layout: SourceLayout,
    pub classes: Classes,
    pub index: Index,
    /// The files that hold many images each.
    pub containers: Vec<Container>,
    /// The folder that the images' names are relative to.
    pub root: PathBuf,
    /// The fraction of each class that became the validation split; 0 if the source has splits of its own.
    pub val_fraction: f64,
    pub warnings: Vec<String>,
}

impl Source {
    pub fn num_images(&self) -> u64 {
        Split::ALL.iter().map(|&split| self.index.num_images(split)).sum()
    }

    /// Fails if none of the first files is an image: then it is a folder of something else.
    fn check_images(&self, data: &Path) -> Result<()> {
        const NUM_LOOKED_AT: u64 = 1000;
        let mut reader = SourceReader::open(self)?;
        let mut bytes = Vec::new();
        let mut num_left = NUM_LOOKED_AT;
        let mut example = String::new();
        for split in Split::ALL {
            for number in 0..self.index.num_images(split).min(num_left) {
                let entry = self.index.entry(split, number)?;
                match reader.read(&entry, &mut bytes) {
                    Ok(None) if is_image(&bytes) => return Ok(()),
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => example = String::from_utf8_lossy(&entry.name).into_owned(),
                    Err(Unreadable(reason)) => example = format!("{}: {reason}", String::from_utf8_lossy(&entry.name)),
                }
                num_left -= 1;
            }
        }
        let num_images = self.num_images().min(NUM_LOOKED_AT);
        let problem = match num_images {
            0 => "no images found: its class folders are empty".into(),
            _ => format!("no images found: none of its first {num_images} files is an image (such as {example})"),
        };
        Err(Error::data(data, problem))
    }
}

/// Draws the split of an image in a source without splits from its name alone, so that it does not change with the
/// other files or the seed. What a smaller fraction draws for validation, a larger one draws too.
pub fn drawn_split(name: &[u8], val_fraction: f64) -> Split {
    let hash = xxh3_64(name);
    let [word, ..] = philox::words(0, Purpose::Split, [hash as u32, (hash >> 32) as u32, 0]);
    if f64::from(philox::uniform(word)) < val_fraction { Split::Val } else { Split::Train }
}

fn asked_fraction(options: &PackOptions) -> f64 {
    options.val_fraction.unwrap_or(DEFAULT_VAL_FRACTION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tenth_of_the_names_is_drawn() {
        let num =
            (0..10_000).filter(|number| drawn_split(format!("cat/{number}.jpg").as_bytes(), 0.1) == Split::Val).count();
        // Five standard deviations of 30.
        assert!(num.abs_diff(1000) < 150, "{num} of 10,000");
    }

    proptest! {
        #[test]
        fn a_larger_fraction_draws_all_that_a_smaller_one_does(name: Vec<u8>, a in 0.0..1.0, b in 0.0..1.0) {
            let (smaller, larger) = if a < b { (a, b) } else { (b, a) };
            let drawn = |fraction| drawn_split(&name, fraction) == Split::Val;
            prop_assert!(!drawn(smaller) || drawn(larger));
        }
    }
}
