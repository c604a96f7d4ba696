//! Folders that one process at a time works in.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{Error, IoContext, Result};
use crate::publish::UNFINISHED_PREFIX;

/// Locks `file`, which stands for `folder`, for as long as it is open. `taken` is the error's text if another process
/// holds the lock.
pub fn lock(file: &File, folder: &Path, taken: &str) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::data(folder, taken)),
        // The file system has no locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error).at("lock the folder", folder),
    }
}

/// Deletes the unfinished files that a killed process left in a locked folder.
pub fn delete_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).at("read the folder", folder)? {
        let entry = entry.at("read the folder", folder)?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            fs::remove_file(entry.path()).at("delete", entry.path())?;
        }
    }
    Ok(())
}
