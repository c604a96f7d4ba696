//! A memory-mapped shard, and the shards of a split read as one.
// A file map is unsafe because another process could shrink the file under it. Shards appear by rename and are
// never written again; docs/shard-format.md tells their owner so.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::{Advice, Mmap};

use super::format::{Header, PAGE_BYTES, SAMPLE_BYTES};
use crate::error::{Error, IoContext, Result};

/// One packed image, borrowed from its shard.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// (3, 256, 256), each byte (pixel - mean) modulo 256.
    pub bytes: &'a [u8],
    /// The class.
    pub label: u32,
}

/// One shard.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl ShardReader {
    /// Maps a shard and checks its header; the samples are checked by [`ShardReader::verify_sample`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        // SAFETY: the map is read only, and shards are never written after they appeared under their name.
        let map = unsafe { Mmap::map(&file) }.at("map", path)?;
        let header = Header::parse(&map, path)?;
        Ok(Self { path: path.to_path_buf(), map, header })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its first page.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many samples it holds.
    pub fn num_samples(&self) -> usize {
        self.header.num_samples as usize
    }

    /// The mean image, (3, 256, 256), whole numbers on the 0-255 scale.
    pub fn mean(&self) -> &[u8] {
        self.part(self.header.mean_offset, SAMPLE_BYTES)
    }

    /// The sample at `index` of this shard.
    pub fn sample(&self, index: usize) -> Sample<'_> {
        assert!(index < self.num_samples(), "sample {index} of {}", self.num_samples());
        Sample { bytes: self.part(self.sample_offset(index), SAMPLE_BYTES), label: self.word(self.labels(), index) }
    }

    /// Compares the sample at `index` with its checksum.
    pub fn verify_sample(&self, index: usize) -> Result<()> {
        let found = crc32fast::hash(self.sample(index).bytes);
        let expected = self.word(self.checksums(), index);
        if found == expected {
            return Ok(());
        }
        Err(self.damaged(&format!("sample {index}"), expected, found))
    }

    /// Compares the mean image, the labels and the table of checksums with theirs, and the labels with the classes.
    pub fn verify_tables(&self) -> Result<()> {
        let tables = [
            ("the mean image", self.mean(), self.header.mean_checksum),
            ("the labels", self.labels(), self.header.labels_checksum),
            ("the table of checksums", self.checksums(), self.header.checksums_checksum),
        ];
        for (name, bytes, expected) in tables {
            let found = crc32fast::hash(bytes);
            if found != expected {
                return Err(self.damaged(name, expected, found));
            }
        }
        if self.part(size_of::<Header>() as u64, PAGE_BYTES - size_of::<Header>()).iter().any(|&byte| byte != 0) {
            return Err(Error::data(&self.path, "the padding after its header is not zero; copy the shard again"));
        }
        for index in 0..self.num_samples() {
            let label = self.word(self.labels(), index);
            if label >= self.header.num_classes {
                let problem =
                    format!("sample {index}: label {label}, but there are {} classes", self.header.num_classes);
                return Err(Error::data(&self.path, problem));
            }
        }
        Ok(())
    }

    /// Tells the kernel that the sample at `index` will be read soon.
    pub fn advise(&self, index: usize) -> Result<()> {
        let offset = self.sample_offset(index) as usize;
        self.map.advise_range(Advice::WillNeed, offset, SAMPLE_BYTES).at("advise reading", &self.path)
    }

    fn damaged(&self, part: &str, expected: u32, found: u32) -> Error {
        Error::data(
            &self.path,
            format!(
                "{part} is damaged: checksum expected {expected:08x}, found {found:08x}; \
                 copy the shard again or pack the dataset again with --force"
            ),
        )
    }

    fn sample_offset(&self, index: usize) -> u64 {
        self.header.samples_offset + (index * SAMPLE_BYTES) as u64
    }

    fn labels(&self) -> &[u8] {
        self.part(self.header.labels_offset, self.num_samples() * 4)
    }

    fn checksums(&self) -> &[u8] {
        self.part(self.header.checksums_offset, self.num_samples() * 4)
    }

    fn word(&self, table: &[u8], index: usize) -> u32 {
        u32::from_le_bytes(table[index * 4..][..4].try_into().expect("four bytes"))
    }

    fn part(&self, offset: u64, num_bytes: usize) -> &[u8] {
        &self.map[offset as usize..][..num_bytes]
    }
}

/// All shards of a split, read as one sequence of samples.
#[derive(Debug)]
pub struct SplitReader {
    shards: Vec<ShardReader>,
    /// The index in the split of each shard's first sample, then the number of all.
    starts: Vec<usize>,
    /// A bit a sample: it was read before and agreed with its checksum.
    verified: Vec<AtomicU64>,
}

impl SplitReader {
    /// The shards in their order.
    pub fn new(shards: Vec<ShardReader>) -> Self {
        let mut starts = vec![0];
        for shard in &shards {
            starts.push(starts[starts.len() - 1] + shard.num_samples());
        }
        let num_words = starts[shards.len()].div_ceil(u64::BITS as usize);
        Self { shards, starts, verified: std::iter::repeat_with(AtomicU64::default).take(num_words).collect() }
    }

    /// How many samples the split holds.
    pub fn num_samples(&self) -> usize {
        self.starts[self.shards.len()]
    }

    /// Its shards.
    pub fn shards(&self) -> &[ShardReader] {
        &self.shards
    }

    /// The sample at `index` of the split.
    pub fn sample(&self, index: usize) -> Sample<'_> {
        let (shard, index) = self.locate(index);
        shard.sample(index)
    }

    /// Compares the sample at `index` of the split with its checksum.
    pub fn verify_sample(&self, index: usize) -> Result<()> {
        let (shard, index) = self.locate(index);
        shard.verify_sample(index)
    }

    /// The sample at `index` of the split, compared with its checksum unless that was done before. A damaged sample
    /// is an error each time.
    pub fn verified_sample(&self, index: usize) -> Result<Sample<'_>> {
        let (word, bit) = (index / u64::BITS as usize, 1 << (index % u64::BITS as usize));
        let (shard, index) = self.locate(index);
        if self.verified[word].load(Relaxed) & bit == 0 {
            shard.verify_sample(index)?;
            self.verified[word].fetch_or(bit, Relaxed);
        }
        Ok(shard.sample(index))
    }

    /// Tells the kernel that the sample at `index` of the split will be read soon.
    pub fn advise(&self, index: usize) -> Result<()> {
        let (shard, index) = self.locate(index);
        shard.advise(index)
    }

    fn locate(&self, index: usize) -> (&ShardReader, usize) {
        let shard = self.starts.partition_point(|&start| start <= index) - 1;
        assert!(shard < self.shards.len(), "sample {index} of {}", self.num_samples());
        (&self.shards[shard], index - self.starts[shard])
    }
}
