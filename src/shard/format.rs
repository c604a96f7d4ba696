//! The header of a shard: the offset and the checksum of each part.

use std::path::Path;

use bytemuck::{Pod, Zeroable};

use crate::error::{Error, Result};

/// The number of channels: red, green and blue.
pub const CHANNELS: usize = 3;
/// Height and width of a sample, in pixels (the paper's section 2).
pub const SIDE: usize = 256;
/// The number of values in one channel.
pub const PLANE: usize = SIDE * SIDE;
/// A sample or a mean image: (3, 256, 256) of one byte, exactly 48 pages of 4 KiB.
pub const SAMPLE_BYTES: usize = CHANNELS * PLANE;
/// The mean image and every sample begin at a multiple of this.
pub const PAGE_BYTES: usize = 4096;
/// The first eight bytes of a shard.
pub const MAGIC: [u8; 8] = *b"AlexShrd";
/// The version that this build writes and reads.
pub const VERSION: u32 = 1;

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Split {
    /// The samples that the network is trained on.
    Train = 0,
    /// The samples that its error is measured on.
    Val = 1,
}

impl Split {
    /// Both, in the order in which they are packed.
    pub const ALL: [Self; 2] = [Self::Train, Self::Val];

    /// `train` or `val`, as in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }

    /// The name of a shard, such as `train-00003.shard`.
    pub fn shard_file(self, index: u32) -> String {
        format!("{}-{index:05}.shard", self.name())
    }
}

/// The first page of a shard without its padding, little-endian (`docs/shard-format.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// The first bytes: [`MAGIC`].
    pub magic: [u8; 8],
    /// The format's version: [`VERSION`].
    pub version: u32,
    /// The channels of a sample: [`CHANNELS`].
    pub channels: u32,
    /// The height of a sample: [`SIDE`].
    pub height: u32,
    /// The width of a sample: [`SIDE`].
    pub width: u32,
    /// The number of samples in this shard, at least one.
    pub num_samples: u64,
    /// Where the mean image begins: (3, 256, 256) u8.
    pub mean_offset: u64,
    /// Where sample 0 begins: (num_samples, 3, 256, 256) u8.
    pub samples_offset: u64,
    /// Where the labels begin: (num_samples) u32.
    pub labels_offset: u64,
    /// Where the CRC-32 of each sample begins: (num_samples) u32.
    pub checksums_offset: u64,
    /// The size of the file.
    pub file_bytes: u64,
    /// Identifies the dataset: the same number as in `dataset.json`.
    pub dataset_id: u64,
    /// The number of classes; labels are below it.
    pub num_classes: u32,
    /// The [`Split`] as a number.
    pub split: u32,
    /// The shard's number within the split, from 0.
    pub shard_index: u32,
    /// The CRC-32 of the mean image.
    pub mean_checksum: u32,
    /// The CRC-32 of the labels' bytes.
    pub labels_checksum: u32,
    /// The CRC-32 of the checksums' bytes.
    pub checksums_checksum: u32,
    /// The CRC-32 of the bytes before it. It covers the other checksums, and those cover the rest of the shard.
    pub header_checksum: u32,
    /// Always zero.
    pub reserved: u32,
}

/// The number of header bytes that the checksum covers.
const CHECKED_BYTES: usize = std::mem::offset_of!(Header, header_checksum);

impl Header {
    /// The header of a shard of `num_samples`, without checksums, which the writer fills in.
    pub fn new(split: Split, shard_index: u32, num_samples: u64, num_classes: u32, dataset_id: u64) -> Self {
        let mean_offset = PAGE_BYTES as u64;
        let samples_offset = mean_offset + SAMPLE_BYTES as u64;
        let labels_offset = samples_offset + num_samples * SAMPLE_BYTES as u64;
        let checksums_offset = labels_offset + num_samples * 4;
        Self {
            magic: MAGIC,
            version: VERSION,
            channels: CHANNELS as u32,
            height: SIDE as u32,
            width: SIDE as u32,
            num_samples,
            mean_offset,
            samples_offset,
            labels_offset,
            checksums_offset,
            file_bytes: checksums_offset + num_samples * 4,
            dataset_id,
            num_classes,
            split: split as u32,
            shard_index,
            mean_checksum: 0,
            labels_checksum: 0,
            checksums_checksum: 0,
            header_checksum: 0,
            reserved: 0,
        }
    }

    /// Sets [`Header::header_checksum`], which covers everything before it.
    pub fn sealed(mut self) -> Self {
        self.header_checksum = self.own_checksum();
        self
    }

    fn own_checksum(&self) -> u32 {
        crc32fast::hash(&bytemuck::bytes_of(self)[..CHECKED_BYTES])
    }

    /// Reads and checks the header in `head`, the first bytes of the file `path`.
    pub(super) fn parse(head: &[u8; size_of::<Self>()], file_bytes: u64, path: &Path) -> Result<Self> {
        let header: Self = bytemuck::pod_read_unaligned(head);
        let wrong = |what: &str, expected: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
            Error::data(path, format!("{what}: expected {expected}, found {found}; pack the dataset again"))
        };
        if header.magic != MAGIC {
            return Err(wrong("not a shard: first bytes", &MAGIC.escape_ascii(), &header.magic.escape_ascii()));
        }
        if header.version != VERSION {
            return Err(Error::data(
                path,
                format!(
                    "version {}, this build reads {VERSION}; pack the dataset again, or use the build that packed it",
                    header.version
                ),
            ));
        }
        let checksum = header.own_checksum();
        if checksum != header.header_checksum {
            return Err(wrong(
                "header checksum",
                &format_args!("{:08x}", header.header_checksum),
                &format_args!("{checksum:08x}"),
            ));
        }
        let split = if header.split == Split::Val as u32 { Split::Val } else { Split::Train };
        let layout = Self::new(split, header.shard_index, header.num_samples, header.num_classes, header.dataset_id);
        let same_layout = Self {
            mean_checksum: header.mean_checksum,
            labels_checksum: header.labels_checksum,
            checksums_checksum: header.checksums_checksum,
            header_checksum: header.header_checksum,
            ..layout
        } == header;
        if !same_layout || header.num_samples == 0 {
            return Err(Error::data(
                path,
                "its header does not describe the layout of version 1; pack the dataset again",
            ));
        }
        if file_bytes != header.file_bytes {
            return Err(wrong("truncated or padded: bytes", &header.file_bytes, &file_bytes));
        }
        Ok(header)
    }
}
