//! Files that appear by rename, whole or not at all.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{IoContext, Result};

/// Unfinished files begin with this; a process that starts over may delete them.
pub(crate) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// Creates a temporary file in the folder of `path`, with the permissions of an ordinary new file.
pub fn unfinished(path: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(path))
        .at("create", path)
}

/// Gives a finished temporary file its final name; both survive a power failure.
pub fn publish(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().at("write", path)?;
    file.persist(path).map_err(|error| error.error).at("rename to", path)?;
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

/// Writes a file of `bytes` that appears at `path` whole or not at all.
pub fn publish_bytes(bytes: &[u8], path: &Path) -> Result<()> {
    let mut file = unfinished(path)?;
    file.write_all(bytes).at("write", path)?;
    publish(file, path)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
