//! A raw shard holds samples as they were decoded, until the mean of all of them is known.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::shard::format::{SAMPLE_BYTES, Split};
use crate::write_back::WriteBack;

/// A complete raw shard, as the state of packing lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawShard {
    pub split: Split,
    /// Counts from 0 within the split.
    pub index: u32,
    /// A raw shard has at least one sample.
    pub num_samples: u64,
}

impl RawShard {
    pub fn file(&self) -> String {
        format!("{}-{:05}.raw", self.split.name(), self.index)
    }
}

/// Writes samples one after another, then their labels.
#[derive(Debug)]
pub struct RawShardWriter {
    path: PathBuf,
    file: File,
    write_back: WriteBack,
    labels: Vec<u32>,
}

impl RawShardWriter {
    /// Overwrites an older file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).at("create", path)?;
        let write_back = WriteBack::begin(&file).at("write", path)?;
        Ok(Self { path: path.to_path_buf(), file, write_back, labels: Vec::new() })
    }

    /// Appends (3, 256, 256) pixels.
    pub fn push(&mut self, sample: &[u8], label: u32) -> Result<()> {
        self.file.write_all(sample).at("write", &self.path)?;
        self.write_back.wrote(sample.len());
        self.labels.push(label);
        Ok(())
    }

    pub fn num_samples(&self) -> u64 {
        self.labels.len() as u64
    }

    /// Writes the labels, and waits until all of it is on the disk.
    pub fn finish(mut self) -> Result<()> {
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let written = self.file.write_all(&labels).and_then(|()| self.write_back.finish());
        written.and_then(|()| self.file.sync_data()).at("write", &self.path)
    }
}

/// Reads a raw shard from its beginning.
#[derive(Debug)]
pub struct RawShardReader {
    path: PathBuf,
    file: File,
    labels: Vec<u32>,
    next: usize,
}

impl RawShardReader {
    pub fn open(path: &Path, num_samples: u64) -> Result<Self> {
        use std::os::unix::fs::FileExt;
        let file = File::open(path).at("open", path)?;
        let (expected, found) = (num_samples * (SAMPLE_BYTES as u64 + 4), file.metadata().at("read", path)?.len());
        if found != expected {
            let problem =
                format!("expected {expected} bytes of unfinished work, found {found}; start over with --force");
            return Err(Error::data(path, problem));
        }
        let mut labels = vec![0; num_samples as usize * 4];
        file.read_exact_at(&mut labels, num_samples * SAMPLE_BYTES as u64).at("read", path)?;
        let labels =
            labels.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect();
        Ok(Self { path: path.to_path_buf(), file, labels, next: 0 })
    }

    /// Reads the next sample and gives its label; `None` after the last.
    pub fn read(&mut self, sample: &mut [u8]) -> Result<Option<u32>> {
        let Some(&label) = self.labels.get(self.next) else { return Ok(None) };
        self.file.read_exact(sample).at("read", &self.path)?;
        self.next += 1;
        Ok(Some(label))
    }
}
