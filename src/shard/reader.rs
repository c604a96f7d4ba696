//! Reads a memory-mapped shard, and the shards of a split as one sequence of samples.
// A file map is unsafe because another process could shrink the file under it. Shards appear by rename and are
// never written again; docs/shard-format.md tells their owner so.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use memmap2::{Advice, Mmap};

use super::format::{Header, PAGE_BYTES, SAMPLE_BYTES};
use crate::error::{Error, IoContext, Result};

/// The operating system reads at most a device's read-ahead or its largest request at a time, and silently drops the
/// rest of a larger advice. This is the default read-ahead.
const ADVICE_BYTES: usize = 128 << 10;

/// One packed image, borrowed from its shard.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// (3, 256, 256), each byte (pixel - mean) modulo 256.
    pub bytes: &'a [u8],
    /// The number of the class.
    pub label: u32,
}

/// A mapped shard.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    map: Mmap,
    header: Header,
    /// Whether the tables have been compared with their checksums.
    tables_verified: AtomicBool,
}

impl ShardReader {
    /// Maps a shard and checks its header. The rest is read and verified when it is first used.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open", path)?;
        let file_bytes = file.metadata().at("read", path)?.len();
        let mut head = [0; size_of::<Header>()];
        if file_bytes < head.len() as u64 {
            return Err(Error::data(
                path,
                format!("{file_bytes} bytes are too few for a shard; pack the dataset again"),
            ));
        }
        // Not through the map, where the operating system would read megabytes around the first byte.
        file.read_exact_at(&mut head, 0).at("read", path)?;
        let header = Header::parse(&head, file_bytes, path)?;
        // SAFETY: the map is read only, and shards are never written after they appeared under their name.
        let map = unsafe { Mmap::map(&file) }.at("map", path)?;
        // No guessing ahead: what will be read is always asked for, see `will_need`.
        map.advise(Advice::Random).at("advise reading", path)?;
        Ok(Self { path: path.to_path_buf(), map, header, tables_verified: AtomicBool::new(false) })
    }

    /// The shard's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header, which was checked when the shard was opened.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of samples.
    pub fn num_samples(&self) -> usize {
        self.header.num_samples as usize
    }

    /// The mean image, (3, 256, 256), whole numbers on the 0-255 scale.
    pub fn mean(&self) -> &[u8] {
        self.part(self.header.mean_offset, SAMPLE_BYTES)
    }

    /// The sample at `index` of this shard, not verified.
    pub fn sample(&self, index: usize) -> Sample<'_> {
        assert!(index < self.num_samples(), "sample {index} of {}", self.num_samples());
        Sample { bytes: self.part(self.sample_offset(index), SAMPLE_BYTES), label: self.word(self.labels(), index) }
    }

    /// Compares the sample at `index` with its checksum, and the tables with theirs unless that was done before.
    pub fn verify_sample(&self, index: usize) -> Result<()> {
        if !self.tables_verified.load(Relaxed) {
            self.verify_tables()?;
        }
        let found = crc32fast::hash(self.sample(index).bytes);
        let expected = self.word(self.checksums(), index);
        if found == expected { Ok(()) } else { Err(self.damaged(&format!("sample {index}"), expected, found)) }
    }

    /// Compares the mean image with its checksum.
    pub fn verify_mean(&self) -> Result<()> {
        self.will_need(self.header.mean_offset, SAMPLE_BYTES)?;
        self.verify_part("the mean image", self.mean(), self.header.mean_checksum)
    }

    /// Compares the labels and the table of checksums with theirs, the labels with the classes, and the padding with
    /// zeros.
    pub fn verify_tables(&self) -> Result<()> {
        self.will_need(self.header.labels_offset, self.num_samples() * 8)?;
        self.verify_part("the table of labels", self.labels(), self.header.labels_checksum)?;
        self.verify_part("the table of checksums", self.checksums(), self.header.checksums_checksum)?;
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
        self.tables_verified.store(true, Relaxed);
        Ok(())
    }

    /// Tells the operating system that these samples will be read soon, in one request, without waiting.
    pub fn advise(&self, samples: Range<usize>) -> Result<()> {
        assert!(samples.end <= self.num_samples(), "samples {samples:?} of {}", self.num_samples());
        self.will_need(self.sample_offset(samples.start), samples.len() * SAMPLE_BYTES)
    }

    /// A page that is touched without this is read alone. The operating system's own read-ahead, megabytes around each
    /// such page, would read many times what a random order needs.
    fn will_need(&self, offset: u64, num_bytes: usize) -> Result<()> {
        let end = offset as usize + num_bytes;
        for start in (offset as usize..end).step_by(ADVICE_BYTES) {
            let advised = self.map.advise_range(Advice::WillNeed, start, ADVICE_BYTES.min(end - start));
            advised.at("advise reading", &self.path)?;
        }
        Ok(())
    }

    fn verify_part(&self, name: &str, bytes: &[u8], expected: u32) -> Result<()> {
        let found = crc32fast::hash(bytes);
        if found == expected { Ok(()) } else { Err(self.damaged(name, expected, found)) }
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
    /// The index in the split of each shard's first sample, then the number of all samples.
    starts: Vec<usize>,
    /// One bit per sample: whether it has been compared with its checksum.
    verified: Vec<AtomicU64>,
}

impl SplitReader {
    /// Joins the shards in the order given.
    pub fn new(shards: Vec<ShardReader>) -> Self {
        let mut starts = vec![0];
        for shard in &shards {
            starts.push(starts[starts.len() - 1] + shard.num_samples());
        }
        let num_words = starts[shards.len()].div_ceil(u64::BITS as usize);
        Self { shards, starts, verified: std::iter::repeat_with(AtomicU64::default).take(num_words).collect() }
    }

    /// The number of samples in the split.
    pub fn num_samples(&self) -> usize {
        self.starts[self.shards.len()]
    }

    /// The shards in order.
    pub fn shards(&self) -> &[ShardReader] {
        &self.shards
    }

    /// The sample at `index` of the split, not verified.
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
        let (word, bit) = verified_bit(index);
        let (shard, index_in_shard) = self.locate(index);
        if self.verified[word].load(Relaxed) & bit == 0 {
            shard.verify_sample(index_in_shard)?;
            self.verified[word].fetch_or(bit, Relaxed);
        }
        Ok(shard.sample(index_in_shard))
    }

    /// Whether [`Self::verified_sample`] has returned all of these samples before.
    pub fn were_read(&self, mut samples: Range<usize>) -> bool {
        samples.all(|index| {
            let (word, bit) = verified_bit(index);
            self.verified[word].load(Relaxed) & bit != 0
        })
    }

    /// Tells the operating system that these samples will be read soon, in one request per shard.
    pub fn advise(&self, samples: Range<usize>) -> Result<()> {
        let mut next = samples.start;
        while next < samples.end {
            let (shard, first) = self.locate(next);
            let len = (samples.end - next).min(shard.num_samples() - first);
            shard.advise(first..first + len)?;
            next += len;
        }
        Ok(())
    }

    fn locate(&self, index: usize) -> (&ShardReader, usize) {
        let shard = self.starts.partition_point(|&start| start <= index) - 1;
        assert!(shard < self.shards.len(), "sample {index} of {}", self.num_samples());
        (&self.shards[shard], index - self.starts[shard])
    }
}

/// The word of [`SplitReader::verified`] and the bit in it.
fn verified_bit(index: usize) -> (usize, u64) {
    (index / u64::BITS as usize, 1 << (index % u64::BITS as usize))
}
