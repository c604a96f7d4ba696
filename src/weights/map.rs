//! The bytes of a file, mapped.
// The map is unsafe because another process could shrink the file under it. Files of weights are not written while
// they are read.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use prost::bytes::Bytes;

use crate::error::{IoContext, Result};

pub(super) fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).at("open", path)?;
    // SAFETY: the map is read only, and files of weights are not written while they are read.
    let map = unsafe { Mmap::map(&file) }.at("map", path)?;
    Ok(Bytes::from_owner(map))
}
