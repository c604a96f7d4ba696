//! `dataset.json`, which describes the shards of a folder and is written last, and the opened dataset.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format::{CHANNELS, Split};
use super::reader::{ShardReader, SplitReader};
use crate::error::{Error, IoContext, Result};
use crate::publish::publish_bytes;

/// The file's name in the dataset's folder.
pub const DATASET_FILE: &str = "dataset.json";
/// The version of `dataset.json` that this build writes and reads.
pub const DATASET_VERSION: u32 = 1;

/// The contents of `dataset.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// The format's version: [`DATASET_VERSION`].
    pub version: u32,
    /// Sixteen hexadecimal digits that every shard's header repeats.
    pub id: String,
    /// The name of the source folder.
    pub name: String,
    /// The classes in the order of their labels.
    pub classes: Vec<Class>,
    /// Statistics of the training split's pixels.
    pub statistics: PixelStatistics,
    /// The shards of the training split.
    pub train: SplitInfo,
    /// The shards of the validation split.
    pub val: SplitInfo,
    /// The number of images that could not be read, which `skipped.csv` lists.
    pub num_skipped: u64,
    /// Where the images came from.
    pub source: SourceInfo,
    /// How they were packed.
    pub settings: PackSettings,
    /// The program and version that wrote this.
    pub written_by: String,
}

/// A class and the number of its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// The readable name, or that of the class folder.
    pub name: String,
    /// The number of training samples.
    pub num_train: u64,
    /// The number of validation samples.
    pub num_val: u64,
}

/// Statistics over every pixel of the training split's samples, on the 0-255 scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelStatistics {
    /// The mean of red, green and blue.
    pub channel_mean: [f64; CHANNELS],
    /// Standard deviations along the principal components of RGB, in descending order: the square roots of the
    /// covariance matrix's eigenvalues (the paper's section 4.1; `docs/fidelity.md` says why not the eigenvalues).
    pub pca_deviation: [f64; CHANNELS],
    /// `pca_vectors[i]` is the unit (red, green, blue) direction of `pca_deviation[i]`.
    pub pca_vectors: [[f64; CHANNELS]; CHANNELS],
}

/// The samples and shards of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitInfo {
    /// The number of samples in all shards.
    pub num_samples: u64,
    /// The shards in order.
    pub shards: Vec<ShardInfo>,
}

/// Identifies a shard and its contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// The file's name in the dataset's folder.
    pub file: String,
    /// The number of samples.
    pub num_samples: u64,
    /// The file's size.
    pub num_bytes: u64,
    /// The checksum of the header, eight hexadecimal digits; the header holds the checksums of the rest.
    pub checksum: String,
}

/// Describes the source of the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The folder as it was given to `pack-shards`.
    pub path: String,
    /// `split-folders`, `class-folders`, `imagenet`, `imagenet-tar` or `idx`.
    pub layout: String,
    /// The number of images found, readable or not.
    pub num_images: u64,
    /// A hash of every image's split, label, name and size, sixteen hexadecimal digits.
    pub fingerprint: String,
}

/// The options of `pack-shards` that change the dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackSettings {
    /// The seed of the order of the samples.
    pub seed: u64,
    /// The number of samples in a full shard.
    pub shard_samples: u64,
    /// The fraction of each class that became the validation split; 0 if the source has splits of its own.
    pub val_fraction: f64,
    /// The limit on training images.
    pub max_train: Option<u64>,
    /// The limit on validation images.
    pub max_val: Option<u64>,
}

impl DatasetInfo {
    /// Reads `dataset.json` of the folder `out`.
    pub fn read(out: &Path) -> Result<Self> {
        let path = out.join(DATASET_FILE);
        if !out.is_dir() {
            return Err(Error::data(out, "no such folder; pack-shards DATA --out writes one"));
        }
        if !path.exists() {
            return Err(Error::data(
                out,
                format!("it has no {DATASET_FILE}, so packing has not finished; run pack-shards again to resume"),
            ));
        }
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let unreadable = |error: serde_json::Error| {
            Error::data(&path, format!("not a dataset's description: {error}; pack the dataset again"))
        };
        let Version { version } = serde_json::from_str(&text).map_err(unreadable)?;
        if version != DATASET_VERSION {
            return Err(Error::data(
                &path,
                format!("version {version}, this build reads {DATASET_VERSION}; pack the dataset again"),
            ));
        }
        serde_json::from_str(&text).map_err(unreadable)
    }

    /// Writes `dataset.json` into the folder `out`.
    pub fn write(&self, out: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("a description is plain data");
        text.push('\n');
        publish_bytes(text.as_bytes(), &out.join(DATASET_FILE))
    }

    /// The description of a split.
    pub fn split(&self, split: Split) -> &SplitInfo {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }

    /// The names of the classes in the order of their labels.
    pub fn class_names(&self) -> Vec<String> {
        self.classes.iter().map(|class| class.name.clone()).collect()
    }
}

/// A packed dataset whose shards are memory-mapped.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    info: DatasetInfo,
    mean: Vec<u8>,
    train: SplitReader,
    val: SplitReader,
}

impl Dataset {
    /// Opens the folder `out`: reads `dataset.json` and the mean image, maps every shard and compares their headers
    /// with `dataset.json`. The time depends on the number of shards, not on their size: tables and samples are
    /// verified when they are first used.
    pub fn open(out: &Path) -> Result<Self> {
        let info = DatasetInfo::read(out)?;
        let [train, val] = Split::ALL.map(|split| open_split(out, &info, split));
        let (train, val) = (train?, val?);
        let Some(first) = train.shards().first() else {
            return Err(Error::data(out, "its training split is empty; pack the dataset again"));
        };
        first.verify_mean()?;
        let mean = first.mean().to_vec();
        Ok(Self { path: out.to_path_buf(), mean, info, train, val })
    }

    /// The dataset's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The contents of `dataset.json`.
    pub fn info(&self) -> &DatasetInfo {
        &self.info
    }

    /// The mean image, (3, 256, 256), whole numbers on the 0-255 scale.
    pub fn mean(&self) -> &[u8] {
        &self.mean
    }

    /// The reader of a split's samples.
    pub fn split(&self, split: Split) -> &SplitReader {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }
}

fn open_split(out: &Path, info: &DatasetInfo, split: Split) -> Result<SplitReader> {
    let expected = info.split(split);
    let shards: Result<_> = (0..expected.shards.len()).map(|index| open_shard(out, info, split, index)).collect();
    let reader = SplitReader::new(shards?);
    if reader.num_samples() as u64 != expected.num_samples {
        let (expected, found) = (expected.num_samples, reader.num_samples());
        let problem = format!("{} samples: expected {expected}, found {found}; pack the dataset again", split.name());
        return Err(Error::data(out.join(DATASET_FILE), problem));
    }
    Ok(reader)
}

/// Maps shard `index` of a split and compares its header with `info`.
pub(super) fn open_shard(out: &Path, info: &DatasetInfo, split: Split, index: usize) -> Result<ShardReader> {
    let expected = &info.split(split).shards[index];
    let path = out.join(&expected.file);
    let shard = ShardReader::open(&path)?;
    let header = shard.header();
    let id = format!("{:016x}", header.dataset_id);
    if id != info.id {
        let problem = format!(
            "a shard of another dataset: expected {} as {DATASET_FILE} says, found {id}; \
             put the right shard back or pack the dataset again",
            info.id
        );
        return Err(Error::data(&path, problem));
    }
    let checksum = format!("{:08x}", header.header_checksum);
    let same = header.split == split as u32
        && header.shard_index as usize == index
        && header.num_samples == expected.num_samples
        && header.num_classes as usize == info.classes.len()
        && checksum == expected.checksum;
    if !same {
        let problem = format!(
            "not the shard that {DATASET_FILE} lists: expected {} {index} of {} samples with checksum {}, \
             found checksum {checksum}; put the right shard back or pack the dataset again",
            split.name(),
            expected.num_samples,
            expected.checksum
        );
        return Err(Error::data(&path, problem));
    }
    Ok(shard)
}
