//! Recognises a dataset's layout by its folders and by the first bytes of its files.

use std::path::{Path, PathBuf};

use super::idx::{self, IdxPair};
use super::tar;
use super::walk::{Listing, Walker};
use crate::error::{Error, Result};

/// Names of a training split's folder, in any case.
const TRAIN_NAMES: [&str; 4] = ["train", "training", "training_set", "train_set"];
/// Names of a validation split's folder, in any case: the first that exists is taken.
const VAL_NAMES: [&str; 8] = ["val", "valid", "validation", "validation_set", "val_set", "test", "test_set", "testing"];
/// How many folders that hold nothing but one folder are looked through.
const MAX_WRAPPERS: usize = 4;

/// A recognised layout and the paths of its parts.
#[derive(Debug)]
pub enum FoundLayout {
    /// Two folders of class folders.
    SplitFolders { train: PathBuf, val: PathBuf },
    /// A folder of class folders, without splits.
    ClassFolders { root: PathBuf },
    /// A folder of class folders beside a flat folder of images.
    ImageNet { train: PathBuf, val: PathBuf },
    /// An archive of one archive per class, and an archive of images.
    ImageNetTar { train: PathBuf, val: Option<PathBuf> },
    /// Files of pixels and labels, as MNIST and datasets like it are published.
    Idx(Vec<IdxPair>),
}

/// Whether the validation images come with a list of labels, so that their folder may be flat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValLabels {
    Given,
    None,
}

pub fn detect(data: &Path, walker: Walker, labels: ValLabels) -> Result<FoundLayout> {
    if !data.exists() {
        return Err(Error::data(data, "no such folder"));
    }
    if !data.is_dir() {
        return Err(Error::data(data, "not a folder; give the folder that holds the images or archives"));
    }
    // Each folder is the only thing in the one before.
    let mut folders = vec![(data.to_path_buf(), walker.list(data)?)];
    for depth in 0..MAX_WRAPPERS {
        let listing = &folders[depth].1;
        if let Some(found) = with_splits(listing, walker, labels)? {
            return Ok(found);
        }
        let Some(inner) = listing.only_folder().map(Path::to_path_buf) else { break };
        let inner_listing = walker.list(&inner)?;
        folders.push((inner, inner_listing));
    }
    let holds_only_folders = |listing: &Listing| !listing.folders.is_empty() && listing.files.is_empty();
    let (root, listing) = folders.iter().rfind(|(_, listing)| holds_only_folders(listing)).unwrap_or(&folders[0]);
    let holds_files = |folder: &PathBuf| walker.files_under(folder).is_ok_and(|files| !files.is_empty());
    if listing.folders.is_empty() || (listing.files.is_empty() && !listing.folders.iter().any(holds_files)) {
        return Err(nothing_found(data));
    }
    Ok(FoundLayout::ClassFolders { root: root.clone() })
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
    let (train, train_listing) = undoubled(train, walker)?;
    if train_listing.folders.is_empty() {
        return Err(Error::data(&train, "expected a folder per class, found none"));
    }
    let Some(val) = named(&listing.folders, &VAL_NAMES) else {
        return Ok(Some(FoundLayout::ClassFolders { root: train }));
    };
    let (val, val_listing) = undoubled(val, walker)?;
    if labels == ValLabels::Given {
        return Ok(Some(FoundLayout::ImageNet { train, val }));
    }
    if val_listing.folders.is_empty() {
        let problem = format!(
            "expected a folder per class, found {} files; ImageNet's flat validation images need --val-labels FILE",
            val_listing.files.len()
        );
        return Err(Error::data(&val, problem));
    }
    Ok(Some(FoundLayout::SplitFolders { train, val }))
}

/// The folder with the first of `names` that any folder has.
fn named<'a>(folders: &'a [PathBuf], names: &[&str]) -> Option<&'a Path> {
    let is_named = |folder: &Path, name: &str| folder.file_name().is_some_and(|own| own.eq_ignore_ascii_case(name));
    names.iter().find_map(|name| folders.iter().find(|folder| is_named(folder, name))).map(PathBuf::as_path)
}

/// `training_set/training_set`, as Kaggle's archives unpack, is one folder: it and its contents.
fn undoubled(folder: &Path, walker: Walker) -> Result<(PathBuf, Listing)> {
    let listing = walker.list(folder)?;
    match listing.only_folder() {
        Some(inner) if inner.file_name() == folder.file_name() => Ok((inner.to_path_buf(), walker.list(inner)?)),
        _ => Ok((folder.to_path_buf(), listing)),
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
