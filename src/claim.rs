//! A folder that one process at a time works in.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{Error, IoContext, Result};
use crate::publish::UNFINISHED_PREFIX;

/// Locks `file`, which stands for `folder`, for as long as it is open; `taken` says what to do when another process holds
/// it.
pub fn lock(file: &File, folder: &Path, taken: &str) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::data(folder, taken)),
        // A file system without locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error).at("lock the folder", folder),
    }
}

/// Deletes what a process that was killed left unfinished in a folder that is locked.
pub fn delete_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).at("read the folder", folder)? {
        let entry = entry.at("read the folder", folder)?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            fs::remove_file(entry.path()).at("delete", entry.path())?;
        }
    }
    Ok(())
}
