//! Files that appear by rename: whole or not at all.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{IoContext, Result};

/// Unfinished files begin with this; whatever starts over may delete them.
pub const UNFINISHED_PREFIX: &str = ".unfinished-";

/// A temporary file in the folder of `path`, with the permissions that a plainly created file has.
pub fn unfinished(path: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(path))
        .at("create", path)
}

/// Gives a finished temporary file its name, durably.
pub fn publish(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().at("write", path)?;
    file.persist(path).map_err(|error| error.error).at("rename to", path)?;
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

/// Writes a small file by rename.
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
