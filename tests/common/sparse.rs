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

/// Writes the dataset into the folder `dir`: true headers, tables and checksums around samples that are holes. Sample i
/// of a shard has the label i mod `num_classes`.
pub fn sparse_dataset(
    dir: &Path,
    num_train: usize,
    num_val: usize,
    num_classes: usize,
    shard_samples: usize,
) -> DatasetInfo {
    let sample_checksum = crc32fast::hash(&vec![0; SAMPLE_BYTES]);
    let split_info = |split, num_samples: usize| {
        let starts = (0..num_samples).step_by(shard_samples);
        let shards = starts.enumerate().map(|(index, start)| {
            let num_samples = shard_samples.min(num_samples - start) as u64;
            let header = Header::new(split, index as u32, num_samples, num_classes as u32, DATASET_ID);
            write_shard(dir, split, header, sample_checksum)
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

fn write_shard(dir: &Path, split: Split, mut header: Header, sample_checksum: u32) -> ShardInfo {
    let words = |word: &dyn Fn(u32) -> u32| -> Vec<u8> {
        (0..header.num_samples as u32).flat_map(|index| word(index).to_le_bytes()).collect()
    };
    let labels = words(&|index| index % header.num_classes);
    let checksums = words(&|_| sample_checksum);
    // The mean image is as empty as a sample.
    header.mean_checksum = sample_checksum;
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
