//! Writes one shard, which appears whole or not at all.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::format::{Header, PAGE_BYTES, SAMPLE_BYTES};
use crate::error::{IoContext, Result};
use crate::publish::{publish, unfinished};
use crate::write_back::WriteBack;

/// A shard that is being written under a temporary name.
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    write_back: WriteBack,
    header: Header,
    labels: Vec<u32>,
    checksums: Vec<u32>,
}

impl ShardWriter {
    /// Begins the shard that `header` describes, with the `mean` image, (3, 256, 256).
    pub fn create(path: &Path, mut header: Header, mean: &[u8]) -> Result<Self> {
        assert_eq!(mean.len(), SAMPLE_BYTES, "bytes of a mean image");
        header.mean_checksum = crc32fast::hash(mean);
        // Smaller than a sample, so that samples are written without being copied.
        let mut file = BufWriter::with_capacity(64 << 10, unfinished(path)?);
        let write_back = WriteBack::begin(file.get_ref().as_file()).at("write", path)?;
        file.write_all(&[0; PAGE_BYTES]).at("write", path)?;
        file.write_all(mean).at("write", path)?;
        let capacity = header.num_samples as usize;
        let (labels, checksums) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        Ok(Self { path: path.to_path_buf(), file, write_back, header, labels, checksums })
    }

    /// Appends a sample, already mean-subtracted: (3, 256, 256), each byte (pixel - mean) modulo 256.
    pub fn push(&mut self, bytes: &[u8], label: u32) -> Result<()> {
        assert_eq!(bytes.len(), SAMPLE_BYTES, "bytes of a sample");
        assert!(label < self.header.num_classes, "label {label} of {} classes", self.header.num_classes);
        self.file.write_all(bytes).at("write", &self.path)?;
        self.write_back.wrote(bytes.len());
        self.labels.push(label);
        self.checksums.push(crc32fast::hash(bytes));
        Ok(())
    }

    /// Writes the tables and the header, gives the shard its name, and returns the header, which `dataset.json`
    /// records.
    pub fn finish(mut self) -> Result<Header> {
        assert_eq!(self.labels.len() as u64, self.header.num_samples, "samples of the shard");
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let checksums: Vec<u8> = self.checksums.iter().flat_map(|checksum| checksum.to_le_bytes()).collect();
        self.header.labels_checksum = crc32fast::hash(&labels);
        self.header.checksums_checksum = crc32fast::hash(&checksums);
        let header = self.header.sealed();
        let write = |mut file: BufWriter<NamedTempFile>| -> std::io::Result<NamedTempFile> {
            file.write_all(&labels)?;
            file.write_all(&checksums)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(bytemuck::bytes_of(&header))?;
            self.write_back.finish()?;
            Ok(file.into_inner()?)
        };
        publish(write(self.file).at("write", &self.path)?, &self.path)?;
        Ok(header)
    }
}
