//! The folder that is packed into. One packer at a time claims it, and only if it holds nothing but a packed dataset.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use indicatif::DecimalBytes;

use crate::claim;
use crate::error::{Error, IoContext, Result};
use crate::shard::Split;
use crate::shard::dataset::DATASET_FILE;

/// Holds the working files: raw shards, the list of images, and the state of packing.
const PACKING_FOLDER: &str = ".packing";
/// Lists the images that could not be read.
pub const SKIPPED_FILE: &str = "skipped.csv";

/// The folder that is packed into, locked until this is dropped.
#[derive(Debug)]
pub struct OutFolder {
    path: PathBuf,
    packing: PathBuf,
    existed: Existed,
    /// The lock lasts as long as the file is open.
    _lock: File,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Existed {
    Before,
    No,
}

impl OutFolder {
    /// Creates the folder if it does not exist, and refuses one that another packer works in or that holds other files.
    pub fn claim(path: &Path) -> Result<Self> {
        let existed = if path.exists() { Existed::Before } else { Existed::No };
        if existed == Existed::Before && !path.is_dir() {
            return Err(Error::data(path, "not a folder; give another --out"));
        }
        fs::create_dir_all(path).at("create the folder", path)?;
        let lock = File::open(path).at("open the folder", path)?;
        claim::lock(&lock, path, "another pack-shards is packing into it; wait for it or give another --out")?;
        let packing = path.join(PACKING_FOLDER);
        let names = names_in(path)?;
        let ours = names.is_empty() || names.iter().any(|name| name == DATASET_FILE || name == PACKING_FOLDER);
        if !ours {
            let problem =
                format!("it holds files that pack-shards did not write (such as {}); give another --out", names[0]);
            return Err(Error::data(path, problem));
        }
        claim::delete_unfinished(path)?;
        let folder = Self { path: path.to_path_buf(), packing, existed, _lock: lock };
        let index = folder.index();
        fs::create_dir_all(&index).at("create the folder", &index)?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn unfinished(&self, name: &str) -> PathBuf {
        self.packing.join(name)
    }

    /// The folder that holds the list of images.
    pub fn index(&self) -> PathBuf {
        self.packing.join("index")
    }

    pub fn state(&self) -> PathBuf {
        self.packing.join("state.json")
    }

    fn free_bytes(&self) -> Result<u64> {
        let status =
            rustix::fs::statvfs(&self.path).map_err(io::Error::from).at("ask for the free space of", &self.path)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// Fails if fewer than `num_bytes` are free.
    pub fn check_free(&self, num_bytes: u64) -> Result<()> {
        let free = self.free_bytes()?;
        if free >= num_bytes {
            return Ok(());
        }
        let problem = format!(
            "the shards need {} more, {} are free; free some, or give an --out on another disk",
            DecimalBytes(num_bytes),
            DecimalBytes(free)
        );
        Err(Error::data(&self.path, problem))
    }

    /// Deletes an earlier dataset, finished or not, except the list of images.
    pub fn clear(&self) -> Result<()> {
        remove_file(&self.file(DATASET_FILE))?;
        remove_file(&self.file(SKIPPED_FILE))?;
        for name in names_in(&self.path)?.iter().filter(|name| is_shard(name)) {
            remove_file(&self.file(name))?;
        }
        remove_file(&self.state())?;
        self.clear_unfinished()
    }

    /// Deletes the files of work that no state records.
    pub fn clear_unfinished(&self) -> Result<()> {
        for name in names_in(&self.packing)? {
            let path = self.packing.join(name);
            if path.is_file() {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Deletes the working files once everything is in the shards.
    pub fn finish(&self) -> Result<()> {
        remove_file(&self.state())?;
        fs::remove_dir_all(&self.packing).at("delete", &self.packing)
    }
}

impl Drop for OutFolder {
    /// Working files without a state cannot be resumed from, so they are deleted.
    fn drop(&mut self) {
        if !self.state().exists() {
            // If that fails nothing can be done about it, and nothing depends on it.
            let _ = fs::remove_dir_all(&self.packing);
            if self.existed == Existed::No {
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

fn is_shard(name: &str) -> bool {
    Split::ALL.iter().any(|split| name.starts_with(&format!("{}-", split.name()))) && name.ends_with(".shard")
}

/// Sorted. A name that is not UTF-8 is none of our files, and is only shown.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).at("read the folder", folder)? {
        names.push(entry.at("read the folder", folder)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A file that does not exist counts as removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("delete", path),
        _ => Ok(()),
    }
}
