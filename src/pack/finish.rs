//! Pass 2: turns every raw shard into a shard with the mean image subtracted, then writes `dataset.json`.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use rayon::ThreadPoolBuilder;
use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use xxhash_rust::xxh3::Xxh3;

use super::folder::{OutFolder, remove_file};
use super::raw::{RawShard, RawShardReader};
use super::source::Source;
use super::state::State;
use super::statistics::PixelSums;
use crate::error::{Error, IoContext, Result};
use crate::progress::Progress;
use crate::shard::ShardReader;
use crate::shard::dataset::{Class, DATASET_VERSION, DatasetInfo, ShardInfo, SourceInfo, SplitInfo};
use crate::shard::format::{Header, SAMPLE_BYTES, Split};
use crate::shard::writer::ShardWriter;

/// This pass is bound by the disk: more threads would only take more space for half-written shards.
pub const MAX_THREADS: usize = 4;

pub fn finish(
    source: &Source,
    folder: &OutFolder,
    num_threads: usize,
    state: &State,
    mut sums: PixelSums,
) -> Result<DatasetInfo> {
    if sums.num_samples() == 0 {
        return Err(Error::data(
            &source.root,
            "no image of the training split can be read, so there is nothing to learn from",
        ));
    }
    let mean = sums.mean();
    let dataset_id = dataset_id(state, &mean);
    let pass = ShardPass { folder, state, mean: &mean, dataset_id };
    let headers = pass.write_shards(num_threads.min(MAX_THREADS))?;
    let info = describe(source, state, dataset_id, &headers);
    info.write(folder.path())?;
    Ok(info)
}

/// Changes with the source, the settings and every pixel of the mean.
fn dataset_id(state: &State, mean: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    let identity = serde_json::to_vec(&(&state.identity, &state.colour_sums)).expect("an identity is plain data");
    hash.update(&identity);
    hash.update(mean);
    hash.digest()
}

#[derive(Clone, Copy)]
struct ShardPass<'a> {
    folder: &'a OutFolder,
    state: &'a State,
    /// (3, 256, 256)
    mean: &'a [u8],
    dataset_id: u64,
}

impl ShardPass<'_> {
    /// Returns the headers of the shards, in the order of the raw shards.
    fn write_shards(self, num_threads: usize) -> Result<Vec<Header>> {
        let progress = Mutex::new(Progress::new("write shards", "images", self.state.num_samples(), 0));
        let pool = ThreadPoolBuilder::new().num_threads(num_threads).build();
        let pool = pool.map_err(io::Error::other).at("start threads for", self.folder.path())?;
        let write = |raw: &RawShard| {
            let header = self.write_shard(raw)?;
            progress.lock().expect("no thread panics while it holds the lock").add(raw.num_samples);
            Ok(header)
        };
        pool.install(|| self.state.shards.par_iter().with_max_len(1).map(write).collect())
    }

    fn write_shard(self, raw: &RawShard) -> Result<Header> {
        let raw_path = self.folder.unfinished(&raw.file());
        let path = self.folder.file(&raw.split.shard_file(raw.index));
        if !raw_path.exists() {
            return self.written_before(&path, raw);
        }
        let num_classes = self.state.identity.classes.len() as u32;
        let header = Header::new(raw.split, raw.index, raw.num_samples, num_classes, self.dataset_id);
        let mut writer = ShardWriter::create(&path, header, self.mean)?;
        let mut reader = RawShardReader::open(&raw_path, raw.num_samples)?;
        let mut sample = vec![0; SAMPLE_BYTES];
        while let Some(label) = reader.read(&mut sample)? {
            subtract(&mut sample, self.mean);
            writer.push(&sample, label)?;
        }
        let header = writer.finish()?;
        remove_file(&raw_path)?;
        Ok(header)
    }

    /// A raw shard is deleted only after its shard has appeared, so the shard must exist and be complete.
    fn written_before(self, path: &Path, raw: &RawShard) -> Result<Header> {
        let header = *ShardReader::open(path)?.header();
        if header.dataset_id != self.dataset_id || header.num_samples != raw.num_samples {
            return Err(Error::data(path, "not the shard that packing left here; start over with --force"));
        }
        Ok(header)
    }
}

/// Pixels to residuals modulo 256, which [`add_mean`](crate::shard::picture::add_mean) undoes.
fn subtract(sample: &mut [u8], mean: &[u8]) {
    for (value, mean) in sample.iter_mut().zip(mean) {
        *value = value.wrapping_sub(*mean);
    }
}

fn describe(source: &Source, state: &State, dataset_id: u64, headers: &[Header]) -> DatasetInfo {
    let identity = &state.identity;
    let split = |split: Split| {
        let headers = headers.iter().filter(|header| header.split == split as u32);
        let shards: Vec<_> = headers
            .map(|header| ShardInfo {
                file: split.shard_file(header.shard_index),
                num_samples: header.num_samples,
                num_bytes: header.file_bytes,
                checksum: format!("{:08x}", header.header_checksum),
            })
            .collect();
        SplitInfo { num_samples: shards.iter().map(|shard| shard.num_samples).sum(), shards }
    };
    let classes = identity.classes.iter().zip(&state.class_counts);
    DatasetInfo {
        version: DATASET_VERSION,
        id: format!("{dataset_id:016x}"),
        name: name_of(&source.root),
        classes: classes
            .map(|(name, &[num_train, num_val])| Class { name: name.clone(), num_train, num_val })
            .collect(),
        statistics: state.colour_sums.statistics(),
        train: split(Split::Train),
        val: split(Split::Val),
        num_skipped: state.num_skipped,
        source: SourceInfo {
            path: source.root.display().to_string(),
            layout: identity.layout.clone(),
            num_images: source.num_images(),
            fingerprint: identity.fingerprint.clone(),
        },
        settings: identity.settings.clone(),
        written_by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into(),
    }
}

/// The last component of the source's path, resolved so that `.` and `..` have one too.
fn name_of(root: &Path) -> String {
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    whole.file_name().map_or_else(|| "images".into(), |name| name.to_string_lossy().into_owned())
}
