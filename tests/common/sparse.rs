//! A packed dataset of any size that takes nearly no disk: every pixel is zero and a hole in its file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use alexnet::shard::dataset::{
    Class, DATASET_VERSION, DatasetInfo, PackSettings, PixelStatistics, ShardInfo, SourceInfo, SplitInfo,
};
use alexnet::shard::format::{CHANNELS, Header, SAMPLE_BYTES, Split};

/// Identifies every sparse dataset.
const DATASET_ID: u64 = 0x5ba5_5e00_5ba5_5e00;

/// The checksum of a sample that is a hole.
pub fn hole_checksum() -> u32 {
    crc32fast::hash(&vec![0; SAMPLE_BYTES])
}

/// Writes the dataset into the folder `dir`: true headers, tables and checksums around samples that are holes.
/// `checksum_of` a training sample is [`hole_checksum`] unless the caller fills the holes. Sample i of a shard has the
/// label i mod `num_classes`.
pub fn sparse_dataset(
    dir: &Path,
    num_train: usize,
    num_val: usize,
    num_classes: usize,
    shard_samples: usize,
    checksum_of: &dyn Fn(usize) -> u32,
) -> DatasetInfo {
    let hole = hole_checksum();
    let split_info = |split, num_samples: usize| {
        let starts = (0..num_samples).step_by(shard_samples);
        let shards = starts.enumerate().map(|(index, start)| {
            let num_samples = shard_samples.min(num_samples - start) as u64;
            let header = Header::new(split, index as u32, num_samples, num_classes as u32, DATASET_ID);
            let checksums = (start..start + num_samples as usize).map(|sample| match split {
                Split::Train => checksum_of(sample),
                Split::Val => hole,
            });
            write_shard(dir, split, header, hole, checksums.collect())
        });
        SplitInfo { num_samples: num_samples as u64, shards: shards.collect() }
    };
    let share = |num_samples: usize| (num_samples / num_classes) as u64;
    let class = |label| Class { name: format!("class {label}"), num_train: share(num_train), num_val: share(num_val) };
    let unit = |axis: usize| std::array::from_fn(|channel| f64::from(u8::from(channel == axis)));
    let info = DatasetInfo {
        version: DATASET_VERSION,
        id: format!("{DATASET_ID:016x}"),
        name: "sparse".into(),
        classes: (0..num_classes).map(class).collect(),
        statistics: PixelStatistics {
            channel_mean: [0.0; CHANNELS],
            pca_deviation: [1.0; CHANNELS],
            pca_vectors: std::array::from_fn(unit),
        },
        train: split_info(Split::Train, num_train),
        val: split_info(Split::Val, num_val),
        num_skipped: 0,
        source: SourceInfo {
            path: "sparse".into(),
            layout: "class-folders".into(),
            num_images: (num_train + num_val) as u64,
            fingerprint: format!("{DATASET_ID:016x}"),
        },
        settings: PackSettings {
            seed: 0,
            shard_samples: shard_samples as u64,
            val_fraction: 0.0,
            max_train: None,
            max_val: None,
        },
        written_by: "sparse_dataset".into(),
    };
    info.write(dir).unwrap();
    info
}

/// The mean image is a hole, too.
fn write_shard(dir: &Path, split: Split, mut header: Header, hole: u32, checksums: Vec<u32>) -> ShardInfo {
    let bytes = |words: Vec<u32>| -> Vec<u8> { words.into_iter().flat_map(u32::to_le_bytes).collect() };
    let labels = bytes((0..header.num_samples as u32).map(|index| index % header.num_classes).collect());
    let checksums = bytes(checksums);
    header.mean_checksum = hole;
    header.labels_checksum = crc32fast::hash(&labels);
    header.checksums_checksum = crc32fast::hash(&checksums);
    let header = header.sealed();
    let file_name = split.shard_file(header.shard_index);
    let file = File::create(dir.join(&file_name)).unwrap();
    file.write_all_at(bytemuck::bytes_of(&header), 0).unwrap();
    file.write_all_at(&labels, header.labels_offset).unwrap();
    file.write_all_at(&checksums, header.checksums_offset).unwrap();
    ShardInfo {
        file: file_name,
        num_samples: header.num_samples,
        num_bytes: header.file_bytes,
        checksum: format!("{:08x}", header.header_checksum),
    }
}
