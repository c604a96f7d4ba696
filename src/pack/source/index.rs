//! The list of images on disk: one record of fixed size per image and a file of names, so that memory does not grow
//! with the dataset and any image can be looked up by its number.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use xxhash_rust::xxh3::Xxh3;

use crate::error::{IoContext, Result};
use crate::shard::Split;

/// One image of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its path under the source's folder, or `archive.tar/member`, as bytes: names need not be UTF-8.
    pub name: Vec<u8>,
    pub label: u32,
    pub place: Place,
}

/// Where the bytes of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of its own, which had this size when it was listed.
    File { num_bytes: u64 },
    /// A part of one of the source's containers.
    Part { container: u32, offset: u64, num_bytes: u64 },
}

/// [`IndexRecord::container`] of an image in a file of its own.
const OWN_FILE: u32 = u32::MAX;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct IndexRecord {
    name_offset: u64,
    offset: u64,
    num_bytes: u64,
    name_bytes: u32,
    label: u32,
    container: u32,
    padding: u32,
}

pub struct IndexWriter {
    paths: IndexPaths,
    records: [BufWriter<File>; 2],
    names: BufWriter<File>,
    names_bytes: u64,
    counts: [u64; 2],
    /// Covers every image's split, label, name and size, in order.
    hash: Xxh3,
}

#[derive(Clone, Debug)]
struct IndexPaths {
    records: [PathBuf; 2],
    names: PathBuf,
}

impl IndexWriter {
    /// Overwrites an older list in `folder`.
    pub fn create(folder: &Path) -> Result<Self> {
        let paths = IndexPaths {
            records: Split::ALL.map(|split| folder.join(format!("{}.records", split.name()))),
            names: folder.join("names"),
        };
        let create = |path: &Path| File::create(path).map(BufWriter::new).at("create", path);
        let [train, val] = &paths.records;
        let records = [create(train)?, create(val)?];
        let names = create(&paths.names)?;
        Ok(Self { paths, records, names, names_bytes: 0, counts: [0; 2], hash: Xxh3::new() })
    }

    pub fn push(&mut self, split: Split, entry: &Entry) -> Result<()> {
        let (container, offset, num_bytes) = match entry.place {
            Place::File { num_bytes } => (OWN_FILE, 0, num_bytes),
            Place::Part { container, offset, num_bytes } => (container, offset, num_bytes),
        };
        let record = IndexRecord {
            name_offset: self.names_bytes,
            offset,
            num_bytes,
            name_bytes: entry.name.len() as u32,
            label: entry.label,
            container,
            padding: 0,
        };
        let at = split as usize;
        self.records[at].write_all(bytemuck::bytes_of(&record)).at("write", &self.paths.records[at])?;
        self.names.write_all(&entry.name).at("write", &self.paths.names)?;
        self.names_bytes += entry.name.len() as u64;
        self.counts[at] += 1;
        for number in [split as u32, entry.label, record.name_bytes] {
            self.hash.update(&number.to_le_bytes());
        }
        self.hash.update(&entry.name);
        self.hash.update(&num_bytes.to_le_bytes());
        Ok(())
    }

    /// Closes the list and opens it for reading.
    pub fn finish(mut self) -> Result<Index> {
        for (file, path) in self.records.iter_mut().zip(&self.paths.records) {
            file.flush().at("write", path)?;
        }
        self.names.flush().at("write", &self.paths.names)?;
        let open = |path: &Path| File::open(path).at("open", path);
        let [train, val] = &self.paths.records;
        Ok(Index {
            records: [open(train)?, open(val)?],
            names: open(&self.paths.names)?,
            counts: self.counts,
            fingerprint: self.hash.digest(),
            paths: self.paths,
        })
    }
}

/// The finished list, which any thread may read.
#[derive(Debug)]
pub struct Index {
    paths: IndexPaths,
    records: [File; 2],
    names: File,
    counts: [u64; 2],
    fingerprint: u64,
}

impl Index {
    pub fn num_images(&self, split: Split) -> u64 {
        self.counts[split as usize]
    }

    /// A hash of every image's split, label, name and size.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Image `number` of a split, in the order of the source.
    pub fn entry(&self, split: Split, number: u64) -> Result<Entry> {
        let at = split as usize;
        assert!(number < self.counts[at], "image {number} of {}", self.counts[at]);
        let mut bytes = [0; size_of::<IndexRecord>()];
        let offset = number * bytes.len() as u64;
        self.records[at].read_exact_at(&mut bytes, offset).at("read", &self.paths.records[at])?;
        let record: IndexRecord = bytemuck::pod_read_unaligned(&bytes);
        let mut name = vec![0; record.name_bytes as usize];
        self.names.read_exact_at(&mut name, record.name_offset).at("read", &self.paths.names)?;
        let (offset, num_bytes) = (record.offset, record.num_bytes);
        let place = match record.container {
            OWN_FILE => Place::File { num_bytes },
            container => Place::Part { container, offset, num_bytes },
        };
        Ok(Entry { name, label: record.label, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = IndexWriter::create(folder.path()).unwrap();
        let entries = [
            Entry { name: b"cat/\xff\xfe.jpg".to_vec(), label: 0, place: Place::File { num_bytes: 12 } },
            Entry {
                name: b"a.tar/dog".to_vec(),
                label: 1,
                place: Place::Part { container: 3, offset: 1 << 40, num_bytes: 9 },
            },
        ];
        for entry in &entries {
            writer.push(Split::Val, entry).unwrap();
        }
        let index = writer.finish().unwrap();
        assert_eq!([index.num_images(Split::Train), index.num_images(Split::Val)], [0, 2]);
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!(index.entry(Split::Val, number as u64).unwrap(), *entry);
        }
    }
}
