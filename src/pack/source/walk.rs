//! The files of a folder in the order of their paths' bytes. Hidden files are left out, and so are circles of links.
// By hand: walkdir sorts a folder's names but not whole paths, and looks for circles at links only, so that a class
// folder with a link to the dataset's root would be listed twice.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};

/// A folder that macOS' archiver leaves behind: never a class.
const LEFT_BEHIND: &[u8] = b"__MACOSX";

/// Identifies a folder, whatever path leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FolderId {
    device: u64,
    inode: u64,
}

impl FolderId {
    /// The folder at `path`; links are followed.
    pub fn of(path: &Path) -> Result<Self> {
        Ok(Self::new(&fs::metadata(path).at("read", path)?))
    }

    fn new(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Begins with the folder that was walked.
    pub path: PathBuf,
    /// 0 for a broken link, which reading will report.
    pub num_bytes: u64,
}

/// The direct contents of a folder, each kind in the order of its paths' bytes.
#[derive(Debug, Default)]
pub struct Listing {
    pub files: Vec<FoundFile>,
    pub folders: Vec<PathBuf>,
}

impl Listing {
    /// The folder in a folder that holds nothing else.
    pub fn only_folder(&self) -> Option<&Path> {
        match (self.folders.as_slice(), self.files.as_slice()) {
            ([only], []) => Some(only),
            _ => None,
        }
    }
}

/// Lists folders, but never the one that the shards are written to.
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    /// The folder that the shards are written to, if it exists already.
    pub out: Option<FolderId>,
}

impl Walker {
    pub fn list(&self, folder: &Path) -> Result<Listing> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(folder).at("read the folder", folder)? {
            let entry = entry.at("read the folder", folder)?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".") || name.as_bytes() == LEFT_BEHIND {
                continue;
            }
            let path = entry.path();
            // Follows links.
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    if self.out != Some(FolderId::new(&metadata)) {
                        listing.folders.push(path);
                    }
                }
                Ok(metadata) if metadata.is_file() => {
                    listing.files.push(FoundFile { path, num_bytes: metadata.len() });
                }
                // Pipes, sockets, devices: opening one may never return.
                Ok(_) => {}
                Err(error) if is_broken_link(&error) => listing.files.push(FoundFile { path, num_bytes: 0 }),
                Err(error) => return Err(error).at("read", &path),
            }
        }
        sort_files(&mut listing.files);
        listing.folders.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        Ok(listing)
    }

    /// Every file under `folder`, at any depth, in the order of their paths' bytes.
    pub fn files_under(&self, folder: &Path) -> Result<Vec<FoundFile>> {
        let mut files = Vec::new();
        self.descend(folder, &mut HashSet::new(), &mut files)?;
        sort_files(&mut files);
        Ok(files)
    }

    /// `above` holds the folders on the way down: one that is met again closes a circle of links.
    fn descend(&self, folder: &Path, above: &mut HashSet<FolderId>, files: &mut Vec<FoundFile>) -> Result<()> {
        let id = FolderId::of(folder)?;
        if !above.insert(id) {
            return Ok(());
        }
        let listing = self.list(folder)?;
        files.extend(listing.files);
        for folder in listing.folders {
            self.descend(&folder, above, files)?;
        }
        above.remove(&id);
        Ok(())
    }
}

/// Whole paths as bytes, not name by name: `a.b/1` stands before `a/1`.
fn sort_files(files: &mut [FoundFile]) {
    files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
}

/// A link to nothing, or to itself.
fn is_broken_link(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}
