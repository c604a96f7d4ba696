//! `skipped.csv` lists the images that could not be read, and why.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::publish::{publish, unfinished};
use crate::shard::Split;

const COLUMNS: [&str; 4] = ["path", "split", "class", "reason"];

/// Appends one row per image.
#[derive(Debug)]
pub struct SkippedList {
    path: PathBuf,
    rows: csv::Writer<File>,
    num_rows: u64,
}

impl SkippedList {
    /// Continues after the first `num_bytes` of the list at `path`, which hold `num_rows`; the rest is cut off.
    pub fn resume(path: &Path, num_bytes: u64, num_rows: u64) -> Result<Self> {
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).at("open", path)?;
        file.set_len(num_bytes).and_then(|()| file.seek(SeekFrom::End(0))).at("write", path)?;
        let mut rows = csv::Writer::from_writer(file);
        if num_bytes == 0 {
            rows.write_record(COLUMNS).map_err(io::Error::from).at("write", path)?;
        }
        Ok(Self { path: path.to_path_buf(), rows, num_rows })
    }

    /// Appends an image. Bytes of its name that are not UTF-8 are shown as U+FFFD.
    pub fn push(&mut self, name: &[u8], split: Split, class: &str, reason: &str) -> Result<()> {
        let name = String::from_utf8_lossy(name);
        let row = [name.as_ref(), split.name(), class, reason];
        self.rows.write_record(row).map_err(io::Error::from).at("write", &self.path)?;
        self.num_rows += 1;
        Ok(())
    }

    pub fn num_rows(&self) -> u64 {
        self.num_rows
    }

    /// Writes all rows to the file, and returns its size and a handle whose `sync_data` brings them to the disk.
    pub fn flush(&mut self) -> Result<(u64, File)> {
        let flush = |rows: &mut csv::Writer<File>| -> io::Result<(u64, File)> {
            rows.flush()?;
            Ok((rows.get_ref().metadata()?.len(), rows.get_ref().try_clone()?))
        };
        flush(&mut self.rows).at("write", &self.path)
    }

    /// Writes a copy of the list to `to`.
    pub fn publish(&mut self, to: &Path) -> Result<()> {
        self.flush()?;
        let mut copy = unfinished(to)?;
        let mut list = File::open(&self.path).at("open", &self.path)?;
        io::copy(&mut list, &mut copy).at("write", to)?;
        publish(copy, to)
    }
}
