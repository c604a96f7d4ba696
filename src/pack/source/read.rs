//! Reads the bytes of one image, from its own file or from a part of a larger one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Source;
use super::index::{Entry, Place};
use crate::error::{IoContext, Result};
use crate::pack::decode::{Geometry, MAX_FILE_BYTES, Unreadable};

/// A file that holds many images.
#[derive(Clone, Debug)]
pub struct Container {
    pub path: PathBuf,
    pub content: Content,
}

/// What the images of a container are.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// Image files to be decoded.
    Files,
    /// Raw pixels.
    Pixels(Geometry),
}

/// Reads images by their entries; each worker has its own.
#[derive(Clone, Debug)]
pub struct SourceReader {
    root: PathBuf,
    containers: Arc<[(File, Container)]>,
}

impl SourceReader {
    pub fn open(source: &Source) -> Result<Self> {
        let containers: Result<Vec<_>> = source
            .containers
            .iter()
            .map(|container| Ok((File::open(&container.path).at("open", &container.path)?, container.clone())))
            .collect();
        Ok(Self { root: source.root.clone(), containers: containers?.into() })
    }

    /// Reads an image's bytes: a file to be decoded, or raw pixels if a geometry is returned.
    pub fn read(&mut self, entry: &Entry, bytes: &mut Vec<u8>) -> Result<Option<Geometry>, Unreadable> {
        let unreadable = |error: io::Error| Unreadable(format!("cannot be read: {error}"));
        match entry.place {
            Place::File { .. } => {
                let path = self.root.join(std::ffi::OsStr::from_bytes(&entry.name));
                let file = File::open(path).map_err(unreadable)?;
                let num_bytes = file.metadata().map_err(unreadable)?.len();
                check_size(num_bytes)?;
                bytes.clear();
                bytes.reserve(num_bytes as usize + 1);
                // Bounded, should the file grow meanwhile.
                file.take(MAX_FILE_BYTES).read_to_end(bytes).map_err(unreadable)?;
                Ok(None)
            }
            Place::Part { container, offset, num_bytes } => {
                check_size(num_bytes)?;
                let (file, container) = &self.containers[container as usize];
                bytes.resize(num_bytes as usize, 0);
                file.read_exact_at(bytes, offset).map_err(unreadable)?;
                Ok(match container.content {
                    Content::Files => None,
                    Content::Pixels(geometry) => Some(geometry),
                })
            }
        }
    }
}

fn check_size(num_bytes: u64) -> Result<(), Unreadable> {
    if num_bytes > MAX_FILE_BYTES {
        return Err(Unreadable(format!("a file of {num_bytes} bytes: more than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok(())
}
