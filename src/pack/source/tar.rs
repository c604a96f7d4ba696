//! Images inside `.tar` files, read in place: an archive's members are byte ranges of it, and so are the members of an
//! archive inside it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::walk::FoundFile;
use crate::error::{Error, IoContext, Result};

const BLOCK_BYTES: usize = 512;

/// A regular file inside an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: Vec<u8>,
    /// Counts from the beginning of the outermost file.
    pub offset: u64,
    pub num_bytes: u64,
}

impl Member {
    /// The last component of the name.
    pub fn file_name(&self) -> &[u8] {
        self.name.rsplit(|&byte| byte == b'/').next().unwrap_or(&self.name)
    }
}

/// The archive of `files` whose name ends with `ending` before its extension, such as `ILSVRC2012_img_train.tar`.
pub fn find(files: &[FoundFile], ending: &str) -> Result<Option<PathBuf>> {
    let mut found: Option<&Path> = None;
    for FoundFile { path, .. } in files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if !stem.ends_with(ending) || !begins_with_header(&File::open(path).at("open", path)?, 0) {
            continue;
        }
        if let Some(other) = found {
            return Err(Error::data(path, format!("a second {ending} archive beside {}", other.display())));
        }
        found = Some(path);
    }
    Ok(found.map(Path::to_path_buf))
}

/// Whether an archive begins at `offset`: its first header's checksum is right.
pub fn begins_with_header(file: &File, offset: u64) -> bool {
    let mut block = [0; BLOCK_BYTES];
    if file.read_exact_at(&mut block, offset).is_err() {
        return false;
    }
    // The checksum field itself counts as spaces.
    let sum: u32 =
        block.iter().enumerate().map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b })).sum();
    ::tar::Header::from_byte_slice(&block).cksum().is_ok_and(|checksum| checksum == sum)
}

/// The regular files of the archive at `offset`, in the order of their names' bytes, without hidden ones.
pub fn members(file: &File, path: &Path, offset: u64, num_bytes: u64) -> Result<Vec<Member>> {
    let mut archive = ::tar::Archive::new(Section { file, start: offset, num_bytes, position: 0 });
    let mut members = Vec::new();
    let damaged = |error: io::Error| {
        Error::data(path, format!("the archive is damaged or cut short: {error}; download it again"))
    };
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let member = Member {
            name: entry.path_bytes().strip_prefix(b"./").map_or_else(|| entry.path_bytes().to_vec(), <[u8]>::to_vec),
            offset: offset + entry.raw_file_position(),
            num_bytes: entry.size(),
        };
        if member.offset + member.num_bytes > offset + num_bytes {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        if !member.file_name().starts_with(b".") {
            members.push(member);
        }
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

/// A part of a file that reads like a file of its own.
struct Section<'a> {
    file: &'a File,
    start: u64,
    num_bytes: u64,
    position: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.num_bytes.saturating_sub(self.position).min(buffer.len() as u64) as usize;
        let num_read = self.file.read_at(&mut buffer[..left], self.start + self.position)?;
        self.position += num_read as u64;
        Ok(num_read)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(step) => self.position.checked_add_signed(step),
            SeekFrom::End(step) => self.num_bytes.checked_add_signed(step),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
