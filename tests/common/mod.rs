//! What tests and benches share: a small packed dataset, made on the spot.

use std::path::Path;

use alexnet::philox::{Purpose, words};
use alexnet::shard::dataset::{
    Class, DATASET_VERSION, DatasetInfo, PackSettings, PixelStatistics, ShardInfo, SourceInfo, SplitInfo,
};
use alexnet::shard::format::{CHANNELS, Header, PLANE, SAMPLE_BYTES, SIDE, Split};
use alexnet::shard::writer::ShardWriter;

/// Identifies every made dataset.
const DATASET_ID: u64 = 0x1234_5678_9abc_def0;

/// Writes a packed dataset into the folder `dir`: noise in a colour for each class, so that a network can learn it.
/// Sample i of a split has the label i mod `num_classes`. The splits are cut in shards of a third of their samples.
pub fn made_dataset(dir: &Path, num_train: usize, num_val: usize, num_classes: usize, seed: u64) -> DatasetInfo {
    let mean = mean_image();
    let split_info = |split, num_samples: usize| {
        let shard_samples = num_samples.div_ceil(3).max(1);
        let starts = (0..num_samples).step_by(shard_samples);
        let shards = starts.enumerate().map(|(index, start)| {
            let samples = start..num_samples.min(start + shard_samples);
            write_shard(dir, split, index as u32, samples, num_classes, seed, &mean)
        });
        SplitInfo { num_samples: num_samples as u64, shards: shards.collect() }
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
        name: "made".into(),
        classes: (0..num_classes).map(class).collect(),
        statistics: statistics(),
        train: split_info(Split::Train, num_train),
        val: split_info(Split::Val, num_val),
        num_skipped: 0,
        source: SourceInfo {
            path: "made".into(),
            layout: "class-folders".into(),
            num_images: (num_train + num_val) as u64,
            fingerprint: format!("{seed:016x}"),
        },
        settings: PackSettings {
            seed,
            shard_samples: num_train.div_ceil(3) as u64,
            val_fraction: 0.1,
            max_train: None,
            max_val: None,
        },
        written_by: "made_dataset".into(),
    };
    info.write(dir).unwrap();
    info
}

fn write_shard(
    dir: &Path,
    split: Split,
    index: u32,
    samples: std::ops::Range<usize>,
    num_classes: usize,
    seed: u64,
    mean: &[u8],
) -> ShardInfo {
    let file = split.shard_file(index);
    let header = Header::new(split, index, samples.len() as u64, num_classes as u32, DATASET_ID);
    let mut writer = ShardWriter::create(&dir.join(&file), header, mean).unwrap();
    for sample in samples {
        let label = sample % num_classes;
        let pixels = made_pixels(split, sample, label, num_classes, seed, mean);
        let bytes: Vec<u8> = pixels.iter().zip(mean).map(|(pixel, mean)| pixel.wrapping_sub(*mean)).collect();
        writer.push(&bytes, label as u32).unwrap();
    }
    let header = writer.finish().unwrap();
    ShardInfo {
        file,
        num_samples: header.num_samples,
        num_bytes: header.file_bytes,
        checksum: format!("{:08x}", header.header_checksum),
    }
}

/// (3, 256, 256): another value at nearly every place, so that a mean taken from the wrong place shows.
fn mean_image() -> Vec<u8> {
    (0..SAMPLE_BYTES).map(|i| (90 + 20 * (i / PLANE) + (i % PLANE / SIDE) / 8 + (i % SIDE) / 16) as u8).collect()
}

/// (3, 256, 256): the mean, the colour of the class, and noise of -32..=31.
fn made_pixels(split: Split, sample: usize, label: usize, num_classes: usize, seed: u64, mean: &[u8]) -> Vec<u8> {
    let colour = class_colour(label, num_classes);
    let stream = split as u32 + 1;
    let noise = (0..(SAMPLE_BYTES / 16) as u32)
        .flat_map(|i| words(seed, Purpose::Synthetic, [i, sample as u32, stream]))
        .flat_map(u32::to_le_bytes);
    let pixel = |(i, noise): (usize, u8)| {
        (i32::from(mean[i]) + colour[i / PLANE] + i32::from(noise % 64) - 32).clamp(0, 255) as u8
    };
    noise.enumerate().map(pixel).collect()
}

/// What a class adds to red, green and blue: a point of a cubic grid over -60..=60.
fn class_colour(label: usize, num_classes: usize) -> [i32; CHANNELS] {
    let levels = (2..).find(|levels: &usize| levels.pow(3) >= num_classes).unwrap();
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
