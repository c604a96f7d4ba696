//! Packing: a folder of images becomes shards.
//!
//! In: a source in any layout. Out: shards and `dataset.json` in a folder. A fixed set of sample buffers circulates
//! among the workers, one of which at a time writes. The list of images, the raw shards and the state are on disk, so
//! memory does not grow with the dataset, and a packer that was killed resumes where it was.
//!
//! ```
//! use alexnet::pack::{options::PackOptions, pack_dataset};
//! use alexnet::shard::{Dataset, SAMPLE_BYTES, Split};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let (photos, out) = (folder.path().join("photos"), folder.path().join("out"));
//! for (class, colour) in [("dark", 40), ("light", 200)] {
//!     std::fs::create_dir_all(photos.join(class))?;
//!     for number in 0..4 {
//!         let image = image::RgbImage::from_pixel(320, 240, image::Rgb([colour, colour, number]));
//!         image.save(photos.join(class).join(format!("{number}.png")))?;
//!     }
//! }
//! let report = pack_dataset(&PackOptions { val_fraction: Some(0.0), ..PackOptions::new(&photos, &out) })?;
//! assert_eq!(report.info.class_names(), ["dark", "light"]);
//!
//! let dataset = Dataset::open(&out)?;
//! let train = dataset.split(Split::Train);
//! assert_eq!(train.num_samples(), 8);
//! let sample = train.verified_sample(0)?;
//! assert_eq!((sample.bytes.len(), dataset.mean().len()), (SAMPLE_BYTES, SAMPLE_BYTES));
//! // Stored as (pixel - mean) modulo 256.
//! let red = sample.bytes[0].wrapping_add(dataset.mean()[0]);
//! assert_eq!(red, [40, 200][sample.label as usize]);
//! # Ok(())
//! # }
//! ```

mod collect;
pub mod decode;
mod eigen;
mod finish;
mod folder;
pub mod options;
mod plan;
mod raw;
mod skipped;
pub(crate) mod source;
mod state;
mod statistics;
mod workers;

use std::fmt;
use std::io;
use std::time::Instant;

use self::collect::Limits;
use self::folder::OutFolder;
use self::options::{Begin, PackOptions};
use self::plan::PackPlan;
use self::source::{FoundSource, Source};
use self::state::{Identity, State};
use self::statistics::PixelSums;
use crate::error::{Error, Result};
use crate::shard::dataset::DATASET_FILE;
use crate::shard::format::{SAMPLE_BYTES, Split};
use crate::shard::{Dataset, DatasetInfo};

/// What [`pack_dataset`] did.
#[derive(Clone, Debug)]
pub struct PackReport {
    /// The contents of `dataset.json`.
    pub info: DatasetInfo,
    /// The speed; `None` if nothing was left to do.
    pub images_per_second: Option<f64>,
    /// The time of the first pass, which includes listing the source, and of the second; 0 if nothing was left to do.
    pub pass_seconds: [f64; 2],
}

impl fmt::Display for PackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.info;
        let num_images = info.train.num_samples + info.val.num_samples;
        let num_shards = info.train.shards.len() + info.val.shards.len();
        let (num_classes, num_skipped) = (info.classes.len(), info.num_skipped);
        write!(f, "{num_images} images, {num_classes} classes, {num_shards} shards, {num_skipped} skipped, ")?;
        match self.images_per_second {
            Some(speed) => write!(f, "{speed:.0} images/s"),
            None => write!(f, "packed before"),
        }
    }
}

/// Packs a source, or resumes where an earlier packer stopped.
pub fn pack_dataset(options: &PackOptions) -> Result<PackReport> {
    pack(options).map_err(explain_full_disk)
}

fn pack(options: &PackOptions) -> Result<PackReport> {
    let begun = Instant::now();
    let found = FoundSource::detect(options)?;
    let folder = OutFolder::claim(&options.out)?;
    let source = found.list(options, &folder.index())?;
    announce(&source);
    let identity = Identity::new(&source, options);
    if options.begin == Begin::Over {
        folder.clear()?;
    }
    if folder.file(DATASET_FILE).exists() {
        return packed_before(&identity, &folder);
    }
    let plan = PackPlan::new(&source, options);
    let (state, sums) = begin(&identity, &folder)?;
    let first_job = state.next_job;
    folder.check_free(needed_bytes(&plan, &state, options))?;
    let limits = Limits {
        bad_images: options.bad_images,
        shard_samples: options.shard_samples.into(),
        num_threads: options.num_threads,
    };
    let (state, sums) = collect::collect(&source, &plan, &folder, limits, state, sums)?;
    let first_seconds = begun.elapsed().as_secs_f64();
    let info = finish::finish(&source, &folder, options.num_threads, &state, sums)?;
    folder.finish()?;
    warn_of_classes_without_images(&info);
    let seconds = begun.elapsed().as_secs_f64();
    let images_per_second = Some((plan.num_jobs() - first_job) as f64 / seconds);
    Ok(PackReport { info, images_per_second, pass_seconds: [first_seconds, seconds - first_seconds] })
}

fn announce(source: &Source) {
    let [train, val] = Split::ALL.map(|split| source.index.num_images(split));
    let (layout, num_classes) = (source.layout.description(), source.classes.num());
    crate::tell!(
        "{}: {layout}; {train} training and {val} validation images, {num_classes} classes",
        source.root.display()
    );
    for warning in &source.warnings {
        crate::tell!("warning: {warning}");
    }
}

/// The folder holds a finished dataset, which must be complete and the result of this same packing.
fn packed_before(identity: &Identity, folder: &OutFolder) -> Result<PackReport> {
    let info = DatasetInfo::read(folder.path())?;
    identity.check_same(&Identity::of_dataset(&info), folder.path())?;
    Dataset::open(folder.path())?;
    // A packer that was killed after it wrote `dataset.json` left its working files.
    folder.finish()?;
    crate::tell!("{}: packed before, nothing to do; --force packs again", folder.path().display());
    Ok(PackReport { info, images_per_second: None, pass_seconds: [0.0; 2] })
}

fn begin(identity: &Identity, folder: &OutFolder) -> Result<(State, PixelSums)> {
    if let Some((state, sums)) = State::read(folder, identity)? {
        crate::tell!("{}: resumes after {} images", folder.path().display(), state.next_job);
        return Ok((state, sums));
    }
    folder.clear_unfinished()?;
    let (state, mut sums) = (State::new(identity.clone()), PixelSums::default());
    state.write(folder, &sums.encode())?;
    Ok((state, sums))
}

/// Raw shards are deleted one by one as their shards appear, so the disk holds the dataset once, and twice only those
/// shards that are being written.
fn needed_bytes(plan: &PackPlan, state: &State, options: &PackOptions) -> u64 {
    let num_at_a_time = options.num_threads.min(finish::MAX_THREADS) as u64;
    let num_twice = (num_at_a_time * u64::from(options.shard_samples)).min(plan.num_jobs());
    (plan.num_jobs() - state.next_job + num_twice) * SAMPLE_BYTES as u64
}

fn warn_of_classes_without_images(info: &DatasetInfo) {
    for class in info.classes.iter().filter(|class| class.num_train == 0) {
        crate::tell!(
            "warning: no image of the class {} is in the training split, so a network cannot learn it",
            class.name
        );
    }
}

/// Every write can meet a full disk, so its advice is added in one place.
fn explain_full_disk(error: Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        Error::Io { path, source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) => {
            let problem = format!("{source}; make room and run the same command again: it resumes where it stopped");
            Error::data(path, problem)
        }
        other => other,
    }
}
