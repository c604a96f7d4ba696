//! What kind of dataset a folder holds, seen from its structure and its files' first bytes.

use std::path::{Path, PathBuf};

use super::idx::{self, IdxPair};
use super::tar;
use super::walk::{Listing, Walker};
use crate::error::{Error, Result};

/// Names of a training split's folder, in any case.
const TRAIN_NAMES: [&str; 4] = ["train", "training", "training_set", "train_set"];
/// Names of a validation split's folder, the first that exists is taken.
const VAL_NAMES: [&str; 8] = ["val", "valid", "validation", "validation_set", "val_set", "test", "test_set", "testing"];
/// Folders that hold nothing but one folder are looked through so deep.
const MAX_WRAPPERS: usize = 4;

/// A dataset as it lies.
#[derive(Debug)]
pub enum FoundLayout {
    /// A folder a class in both.
    SplitFolders {
        /// The training split's.
        train: PathBuf,
        /// The validation split's.
        val: PathBuf,
    },
    /// A folder a class, no splits.
    ClassFolders {
        /// The folder of classes.
        root: PathBuf,
    },
    /// A folder a class beside a flat folder.
    ImageNet {
        /// A folder a class.
        train: PathBuf,
        /// Images only.
        val: PathBuf,
    },
    /// ImageNet's archives.
    ImageNetTar {
        /// An archive of an archive a class.
        train: PathBuf,
        /// An archive of images.
        val: Option<PathBuf>,
    },
    /// MNIST and its kin.
    Idx(Vec<IdxPair>),
}

/// Whether the validation images come with a list of labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValLabels {
    /// So the folder of validation images may be flat.
    Given,
    /// So it needs a folder a class.
    None,
}

/// Looks at the folder `data`.
pub fn detect(data: &Path, walker: Walker, labels: ValLabels) -> Result<FoundLayout> {
    if !data.exists() {
        return Err(Error::data(data, "no such folder"));
    }
    if !data.is_dir() {
        return Err(Error::data(data, "not a folder; give the folder that holds the images or archives"));
    }
    let mut folder = data.to_path_buf();
    for _ in 0..MAX_WRAPPERS {
        let listing = walker.list(&folder)?;
        if let Some(found) = with_splits(&listing, walker, labels)? {
            return Ok(found);
        }
        match only_folder(&listing) {
            Some(inner) => folder = inner,
            None => break,
        }
    }
    let root = class_root(data, walker)?;
    if walker.list(&root)?.folders.is_empty() || !walker.holds_files(&root)? {
        return Err(nothing_found(data));
    }
    Ok(FoundLayout::ClassFolders { root })
}

fn with_splits(listing: &Listing, walker: Walker, labels: ValLabels) -> Result<Option<FoundLayout>> {
    let pairs = idx::find(&listing.files)?;
    if !pairs.is_empty() {
        return Ok(Some(FoundLayout::Idx(pairs)));
    }
    if let Some(train) = tar::find(&listing.files, "train")? {
        let val = tar::find(&listing.files, "val")?;
        return Ok(Some(FoundLayout::ImageNetTar { train, val }));
    }
    let Some(train) = named(&listing.folders, &TRAIN_NAMES) else { return Ok(None) };
    let train = undoubled(train, walker)?;
    if walker.list(&train)?.folders.is_empty() {
        return Err(Error::data(&train, "expected a folder per class, found none"));
    }
    let Some(val) = named(&listing.folders, &VAL_NAMES) else {
        return Ok(Some(FoundLayout::ClassFolders { root: train }));
    };
    let val = undoubled(val, walker)?;
    let classes = walker.list(&val)?;
    if labels == ValLabels::Given {
        return Ok(Some(FoundLayout::ImageNet { train, val }));
    }
    if classes.folders.is_empty() {
        let problem = format!(
            "expected a folder per class, found {} files; ImageNet's flat validation images need --val-labels FILE",
            classes.files.len()
        );
        return Err(Error::data(&val, problem));
    }
    Ok(Some(FoundLayout::SplitFolders { train, val }))
}

/// The folder of the first of `names` that there is one of.
fn named(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| folders.iter().find(|folder| name_of(folder).eq_ignore_ascii_case(name)).cloned())
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `training_set/training_set`, as Kaggle's archives unpack, is one folder.
fn undoubled(folder: PathBuf, walker: Walker) -> Result<PathBuf> {
    let listing = walker.list(&folder)?;
    Ok(match only_folder(&listing) {
        Some(inner) if inner.file_name() == folder.file_name() => inner,
        _ => folder,
    })
}

/// The folder of classes: `data`, or what is wrapped in folders that hold nothing else.
fn class_root(data: &Path, walker: Walker) -> Result<PathBuf> {
    let mut root = data.to_path_buf();
    for _ in 0..MAX_WRAPPERS {
        let Some(inner) = only_folder(&walker.list(&root)?) else { break };
        let classes = walker.list(&inner)?;
        if classes.folders.is_empty() || !classes.files.is_empty() {
            break;
        }
        root = inner;
    }
    Ok(root)
}

/// The one folder of a folder that holds nothing else.
fn only_folder(listing: &Listing) -> Option<PathBuf> {
    match (listing.folders.as_slice(), listing.files.as_slice()) {
        ([only], []) => Some(only.clone()),
        _ => None,
    }
}

fn nothing_found(data: &Path) -> Error {
    Error::data(
        data,
        "no images found. Looked for:\n  \
         - train/ and val/ (or training_set, test_set, test, valid, validation) with a folder per class\n  \
         - a folder per class\n  \
         - train/ with a folder per class beside a flat val/, with --val-labels FILE\n  \
         - ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar\n  \
         - train-images-idx3-ubyte.gz and its three companions, gzipped or plain",
    )
}
