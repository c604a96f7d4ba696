//! A packed dataset of noise, made on the spot in a temporary folder: what is trained on where there is no other.

use std::path::Path;

use tempfile::TempDir;

use crate::error::{IoContext, Result};
use crate::philox::{Purpose, words};
use crate::shard::dataset::{
    Class, DATASET_VERSION, DatasetInfo, PackSettings, PixelStatistics, ShardInfo, SourceInfo, SplitInfo,
};
use crate::shard::format::{CHANNELS, Header, SAMPLE_BYTES, Split};
use crate::shard::writer::ShardWriter;

/// Identifies it.
const DATASET_ID: u64 = 0xa11e_0e70_0000_0001;
/// Images that are drawn; they come again and again, since drawing takes longer than writing.
const NUM_DRAWN: usize = 64;
/// A validation split must not be empty.
const NUM_VAL: usize = 16;
/// Every pixel's mean: grey.
const MEAN: u8 = 128;
/// Deviation of uniform bytes.
const DEVIATION: f64 = 73.9;

/// Deletes its folder when dropped.
#[derive(Debug)]
pub struct MadeDataset {
    folder: TempDir,
}

impl MadeDataset {
    /// `num_train` images of 192 KiB, sample i of class i modulo `num_classes`.
    pub fn new(num_train: usize, num_classes: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("alexnet-gpu-check-").tempdir();
        let folder = folder.at("create a folder in", std::env::temp_dir())?;
        let images: Vec<Vec<u8>> = (0..NUM_DRAWN.min(num_train.max(NUM_VAL)) as u32).map(drawn).collect();
        let train = write_split(folder.path(), Split::Train, num_train, num_classes, &images)?;
        let val = write_split(folder.path(), Split::Val, NUM_VAL, num_classes, &images)?;
        described(train, val, num_classes).write(folder.path())?;
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// (3, 256, 256): uniform bytes, which are the pixels minus the mean.
fn drawn(image: u32) -> Vec<u8> {
    let quads = 0..(SAMPLE_BYTES / 16) as u32;
    quads.flat_map(|quad| words(1, Purpose::Synthetic, [quad, image, 1])).flat_map(u32::to_le_bytes).collect()
}

fn write_split(
    folder: &Path,
    split: Split,
    num_samples: usize,
    num_classes: usize,
    images: &[Vec<u8>],
) -> Result<SplitInfo> {
    let file = split.shard_file(0);
    let header = Header::new(split, 0, num_samples as u64, num_classes as u32, DATASET_ID);
    let mut writer = ShardWriter::create(&folder.join(&file), header, &vec![MEAN; SAMPLE_BYTES])?;
    for (sample, image) in (0..num_samples).zip(images.iter().cycle()) {
        writer.push(image, (sample % num_classes) as u32)?;
    }
    let header = writer.finish()?;
    let shard = ShardInfo {
        file,
        num_samples: header.num_samples,
        num_bytes: header.file_bytes,
        checksum: format!("{:08x}", header.header_checksum),
    };
    Ok(SplitInfo { num_samples: num_samples as u64, shards: vec![shard] })
}

fn described(train: SplitInfo, val: SplitInfo, num_classes: usize) -> DatasetInfo {
    let of_class =
        |class: usize, split: &SplitInfo| (class..split.num_samples as usize).step_by(num_classes).count() as u64;
    let class = |class| Class {
        name: format!("noise {class}"),
        num_train: of_class(class, &train),
        num_val: of_class(class, &val),
    };
    let axis = |axis: usize| std::array::from_fn(|channel| f64::from(u8::from(channel == axis)));
    DatasetInfo {
        version: DATASET_VERSION,
        id: format!("{DATASET_ID:016x}"),
        name: "noise".into(),
        classes: (0..num_classes).map(class).collect(),
        statistics: PixelStatistics {
            channel_mean: [f64::from(MEAN); CHANNELS],
            pca_deviation: [DEVIATION; CHANNELS],
            pca_vectors: std::array::from_fn(axis),
        },
        num_skipped: 0,
        source: SourceInfo {
            path: "made".into(),
            layout: "class-folders".into(),
            num_images: train.num_samples + val.num_samples,
            fingerprint: format!("{DATASET_ID:016x}"),
        },
        settings: PackSettings {
            seed: 0,
            shard_samples: train.num_samples,
            val_fraction: 0.0,
            max_train: None,
            max_val: None,
        },
        train,
        val,
        written_by: concat!("gpu-check ", env!("CARGO_PKG_VERSION")).into(),
    }
}
