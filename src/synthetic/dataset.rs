//! Packed datasets without images: noise in a colour for each class, which a network can learn, or zeros that take no
//! disk.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::values::bytes;
use crate::error::{IoContext, Result};
use crate::shard::dataset::{
    Class, DATASET_VERSION, DatasetInfo, PackSettings, PixelStatistics, ShardInfo, SourceInfo, SplitInfo,
};
use crate::shard::format::{CHANNELS, Header, PLANE, SAMPLE_BYTES, SIDE, Split};
use crate::shard::writer::ShardWriter;

/// Identifies every synthetic dataset.
const DATASET_ID: u64 = 0x1234_5678_9abc_def0;
/// A shard has a third of its split's samples, but at most so many.
const MAX_SHARD_SAMPLES: usize = 1024;

/// Writes a dataset of noise into `folder`, in a colour for each class, so that a network can learn it. Sample i of a
/// split has the label i modulo `num_classes`.
pub fn coloured_dataset(
    folder: &Path,
    num_train: usize,
    num_val: usize,
    num_classes: usize,
    seed: u64,
) -> Result<DatasetInfo> {
    let mean = mean_image();
    write_dataset(folder, [num_train, num_val], num_classes, seed, |path, header, split, samples| {
        let mut writer = ShardWriter::create(path, header, &mean)?;
        for sample in samples {
            let label = sample % num_classes;
            writer.push(&residuals(split, sample, class_colour(label, num_classes), seed, &mean), label as u32)?;
        }
        writer.finish()
    })
}

/// Writes a dataset of any size that takes nearly no disk into `folder`: whole headers, tables and checksums around a
/// mean image and samples of zeros, which are holes in their files. Labels are those of [`coloured_dataset`].
pub fn sparse_dataset(folder: &Path, num_train: usize, num_val: usize, num_classes: usize) -> Result<DatasetInfo> {
    let hole = crc32fast::hash(&[0; SAMPLE_BYTES]);
    write_dataset(folder, [num_train, num_val], num_classes, 0, |path, mut header, _, samples| {
        let labels: Vec<u32> = samples.map(|sample| (sample % num_classes) as u32).collect();
        let checksums = vec![hole; labels.len()];
        let [labels, checksums] =
            [labels, checksums].map(|words| words.into_iter().flat_map(u32::to_le_bytes).collect());
        let (labels, checksums): (Vec<u8>, Vec<u8>) = (labels, checksums);
        header.mean_checksum = hole;
        header.labels_checksum = crc32fast::hash(&labels);
        header.checksums_checksum = crc32fast::hash(&checksums);
        let header = header.sealed();
        let file = File::create(path).at("create", path)?;
        file.write_all_at(bytemuck::bytes_of(&header), 0).at("write", path)?;
        file.write_all_at(&labels, header.labels_offset).at("write", path)?;
        file.write_all_at(&checksums, header.checksums_offset).at("write", path)?;
        Ok(header)
    })
}

fn write_dataset(
    folder: &Path,
    [num_train, num_val]: [usize; 2],
    num_classes: usize,
    seed: u64,
    write_shard: impl Fn(&Path, Header, Split, Range<usize>) -> Result<Header>,
) -> Result<DatasetInfo> {
    let shard_samples = |num_samples: usize| num_samples.div_ceil(3).clamp(1, MAX_SHARD_SAMPLES);
    let split_info = |split: Split, num_samples: usize| {
        let starts = (0..num_samples).step_by(shard_samples(num_samples)).enumerate();
        let shards = starts.map(|(index, start)| {
            let samples = start..num_samples.min(start + shard_samples(num_samples));
            let file = split.shard_file(index as u32);
            let header = Header::new(split, index as u32, samples.len() as u64, num_classes as u32, DATASET_ID);
            let header = write_shard(&folder.join(&file), header, split, samples)?;
            let Header { num_samples, file_bytes: num_bytes, header_checksum, .. } = header;
            Ok(ShardInfo { file, num_samples, num_bytes, checksum: format!("{header_checksum:08x}") })
        });
        Ok(SplitInfo { num_samples: num_samples as u64, shards: shards.collect::<Result<_>>()? })
    };
    let of_class = |class: usize, num_samples: usize| (class..num_samples).step_by(num_classes).count() as u64;
    let class = |class| Class {
        name: format!("colour {class}"),
        num_train: of_class(class, num_train),
        num_val: of_class(class, num_val),
    };
    let info = DatasetInfo {
        version: DATASET_VERSION,
        id: format!("{DATASET_ID:016x}"),
        name: "synthetic".into(),
        classes: (0..num_classes).map(class).collect(),
        statistics: statistics(),
        train: split_info(Split::Train, num_train)?,
        val: split_info(Split::Val, num_val)?,
        num_skipped: 0,
        source: SourceInfo {
            path: "synthetic".into(),
            layout: "class-folders".into(),
            num_images: (num_train + num_val) as u64,
            fingerprint: format!("{seed:016x}"),
        },
        settings: PackSettings {
            seed,
            shard_samples: shard_samples(num_train) as u64,
            val_fraction: 0.1,
            max_train: None,
            max_val: None,
        },
        written_by: concat!("alexnet ", env!("CARGO_PKG_VERSION")).into(),
    };
    info.write(folder)?;
    Ok(info)
}

/// (3, 256, 256): another value at nearly every place, so that a mean taken from the wrong place shows.
fn mean_image() -> Vec<u8> {
    (0..SAMPLE_BYTES).map(|i| (90 + 20 * (i / PLANE) + (i % PLANE / SIDE) / 8 + (i % SIDE) / 16) as u8).collect()
}

/// (3, 256, 256), the mean subtracted modulo 256. The pixels are the mean, the colour, and noise of -32..=31.
fn residuals(split: Split, sample: usize, colour: [i32; CHANNELS], seed: u64, mean: &[u8]) -> Vec<u8> {
    let noise = bytes(seed, [sample as u32, split as u32 + 1]).take(SAMPLE_BYTES);
    let residual = |(i, noise): (usize, u8)| {
        let pixel = (i32::from(mean[i]) + colour[i / PLANE] + i32::from(noise % 64) - 32).clamp(0, 255) as u8;
        pixel.wrapping_sub(mean[i])
    };
    noise.enumerate().map(residual).collect()
}

/// What a class adds to red, green and blue: a point of a cubic grid over -60..=60.
fn class_colour(label: usize, num_classes: usize) -> [i32; CHANNELS] {
    let levels = (2..).find(|levels: &usize| levels.pow(3) >= num_classes).expect("a cube that is large enough");
    [label, label / levels, label / levels / levels].map(|digit| (digit % levels * 120 / (levels - 1)) as i32 - 60)
}

/// Plausible, and with directions at right angles; not measured from the samples.
fn statistics() -> PixelStatistics {
    let (a, b, c) = (1.0 / 3.0_f64.sqrt(), 1.0 / 2.0_f64.sqrt(), 1.0 / 6.0_f64.sqrt());
    PixelStatistics {
        channel_mean: [113.0, 133.0, 153.0],
        pca_deviation: [60.0, 30.0, 20.0],
        pca_vectors: [[a, a, a], [b, -b, 0.0], [c, c, -2.0 * c]],
    }
}
