//! IDX files, in which MNIST and datasets like it are published: raw pixels in one file, labels in another, gzipped or
//! plain.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use image::metadata::Orientation;

use super::walk::FoundFile;
use crate::error::{Error, IoContext, Result};
use crate::pack::decode::{Colours, Geometry, MAX_PIXELS};
use crate::shard::Split;

/// Only so many files are opened: a folder of a million photographs holds no IDX files.
const MAX_LOOKED_INTO: usize = 100;
const GZIP: [u8; 2] = [0x1F, 0x8B];
const UNSIGNED_BYTES: u8 = 0x08;

/// The images of a split and their labels.
#[derive(Clone, Debug)]
pub struct IdxPair {
    /// What the files' names say; if they say nothing, the split is drawn as for class folders.
    pub split: Option<Split>,
    pub images: IdxFile,
    pub labels: IdxFile,
}

/// An IDX file and what its header says.
#[derive(Clone, Debug)]
pub struct IdxFile {
    pub path: PathBuf,
    storage: Storage,
    /// Dimensions, slowest first: (images, height, width), with channels before or after the pixels, or (labels).
    sizes: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Storage {
    Plain,
    Gzip,
}

/// Pairs the IDX files among `files`. It is an error if one lacks its companion, but not if there are none.
pub fn find(files: &[FoundFile]) -> Result<Vec<IdxPair>> {
    let mut images: Vec<(Option<Split>, IdxFile)> = Vec::new();
    let mut labels: Vec<(Option<Split>, IdxFile)> = Vec::new();
    for FoundFile { path, .. } in files.iter().take(MAX_LOOKED_INTO) {
        let Some(file) = IdxFile::open(path).at("read", path)? else { continue };
        let list = if file.sizes.len() == 1 { &mut labels } else { &mut images };
        let split = named_split(path);
        if let Some((_, other)) = list.iter().find(|(other, _)| *other == split) {
            let problem =
                format!("a second IDX file of its kind beside {}; keep one dataset in a folder", other.path.display());
            return Err(Error::data(path, problem));
        }
        list.push((split, file));
    }
    let mut pairs = Vec::new();
    for (split, images) in images {
        let Some(at) = labels.iter().position(|(other, _)| *other == split) else {
            return Err(Error::data(&images.path, "found no IDX file of labels beside it"));
        };
        let labels = labels.swap_remove(at).1;
        if images.num() != labels.num() {
            let problem = format!("{} images, but {} labels in {}", images.num(), labels.num(), labels.path.display());
            return Err(Error::data(&images.path, problem));
        }
        pairs.push(IdxPair { split, images, labels });
    }
    if pairs.len() == 1 {
        // There is no second pair, so its validation images are drawn from it.
        pairs[0].split = None;
    }
    pairs.sort_by_key(|pair| pair.split.map(|split| split as u32));
    Ok(pairs)
}

fn named_split(path: &Path) -> Option<Split> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    if name.contains("train") {
        Some(Split::Train)
    } else if ["t10k", "test", "val"].iter().any(|word| name.contains(word)) {
        Some(Split::Val)
    } else {
        None
    }
}

impl IdxFile {
    /// Reads the header; `None` if it is not that of an IDX file of images or labels.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut first = [0; 2];
        let num_read = file.read_at(&mut first, 0)?;
        let storage = if num_read == 2 && first == GZIP { Storage::Gzip } else { Storage::Plain };
        let mut reader: Box<dyn Read> = match storage {
            Storage::Plain => Box::new(BufReader::new(file)),
            Storage::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        };
        let mut magic = [0; 4];
        if reader.read_exact(&mut magic).is_err() {
            return Ok(None);
        }
        let [0, 0, UNSIGNED_BYTES, num_sizes @ (1 | 3 | 4)] = magic else { return Ok(None) };
        let mut sizes = Vec::new();
        for _ in 0..num_sizes {
            let mut size = [0; 4];
            if reader.read_exact(&mut size).is_err() {
                return Ok(None);
            }
            sizes.push(u64::from(u32::from_be_bytes(size)));
        }
        Ok(Some(Self { path: path.to_path_buf(), storage, sizes }))
    }

    /// The number of images or labels.
    pub fn num(&self) -> u64 {
        self.sizes[0]
    }

    pub fn header_bytes(&self) -> u64 {
        4 + 4 * self.sizes.len() as u64
    }

    pub fn geometry(&self) -> Result<Geometry> {
        let (height, width, colours) = match *self.sizes {
            [_, height, width] => (height, width, Colours::Grey),
            [_, height, width, 3] => (height, width, Colours::Rgb),
            [_, 3, height, width] => (height, width, Colours::RgbPlanes),
            [_, height, width, 1] | [_, 1, height, width] => (height, width, Colours::Grey),
            _ => {
                let problem = format!("expected images of 1 or 3 channels, found sizes {:?}", self.sizes);
                return Err(Error::data(&self.path, problem));
            }
        };
        if height == 0 || width == 0 || height * width > MAX_PIXELS {
            return Err(Error::data(&self.path, format!("images of {width} x {height} pixels")));
        }
        Ok(Geometry { width: width as u32, height: height as u32, colours, orientation: Orientation::NoTransforms })
    }

    /// The file itself if it is plain, or its unpacked copy at `copy`.
    pub fn plain(&self, copy: &Path) -> Result<PathBuf> {
        let place = match self.storage {
            Storage::Plain => self.path.clone(),
            Storage::Gzip => {
                let packed = File::open(&self.path).at("open", &self.path)?;
                let mut unpacked = File::create(copy).at("create", copy)?;
                let mut reader = MultiGzDecoder::new(BufReader::with_capacity(1 << 20, packed));
                io::copy(&mut reader, &mut unpacked).map_err(|error| self.unpacking(error))?;
                copy.to_path_buf()
            }
        };
        let expected = self.header_bytes() + self.sizes.iter().product::<u64>();
        let found = std::fs::metadata(&place).at("read", &place)?.len();
        if found != expected {
            let problem = format!("expected {expected} bytes for sizes {:?}, found {found}", self.sizes);
            return Err(Error::data(&self.path, problem));
        }
        Ok(place)
    }

    /// The values of a file of labels: one byte per image.
    pub fn labels(&self) -> Result<Vec<u8>> {
        let file = BufReader::new(File::open(&self.path).at("open", &self.path)?);
        let mut values = Vec::new();
        match self.storage {
            Storage::Plain => BufReader::new(file).read_to_end(&mut values),
            Storage::Gzip => MultiGzDecoder::new(file).read_to_end(&mut values),
        }
        .map_err(|error| self.unpacking(error))?;
        let labels = values.split_off((self.header_bytes() as usize).min(values.len()));
        if labels.len() as u64 != self.num() {
            let problem = format!("expected {} labels, found {}", self.num(), labels.len());
            return Err(Error::data(&self.path, problem));
        }
        Ok(labels)
    }

    fn unpacking(&self, source: io::Error) -> Error {
        Error::Io { action: "unpack", path: self.path.clone(), source }
    }
}
