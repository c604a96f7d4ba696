//! Packs a folder of images into shards.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::pack::options::{BadImages, Begin, DEFAULT_SHARD_SAMPLES, MaxBad, PackOptions};
use clap::Parser;

/// Pack a folder of images into shards that train reads.
///
/// Each image is decoded once, turned upright, resized so that its shorter side is 256, cut to the centre
/// 256 x 256, and stored with the mean image of the training split subtracted (docs/shard-format.md).
/// If it is killed or stopped, the same command resumes where it was.
#[derive(Debug, Parser)]
#[command(name = "pack-shards", version, max_term_width = 110, allow_negative_numbers = true, after_help = EXAMPLES)]
struct PackArguments {
    /// The folder of images, in any of the layouts below
    data: PathBuf,

    /// The folder to write shards to; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Fraction of each class folder that becomes the validation split, drawn by each file's path [default: 0.1]
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    val_fraction: Option<f64>,

    /// Classes of a flat val/: lines of "image class", or one class per line in the order of the file names
    #[arg(long, value_name = "FILE")]
    val_labels: Option<PathBuf>,

    /// Readable class names: one per line in label order, or lines of "folder name"
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,

    /// Pack at most N training images, drawn by the seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_train: Option<u64>,

    /// Pack at most N validation images, the same for every seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_val: Option<u64>,

    /// List images that cannot be read in OUT/skipped.csv and continue; this is the default
    #[arg(long)]
    skip_bad: bool,

    /// Stop when more images than this cannot be read: a count or a percentage [default: 1%, at least 10]
    #[arg(long, value_name = "N|P%", conflicts_with = "strict")]
    max_bad: Option<MaxBad>,

    /// Stop at the first image that cannot be read
    #[arg(long, conflicts_with = "skip_bad")]
    strict: bool,

    /// Threads that decode [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Seed for the order of the training samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Samples per shard, 192 KiB each
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SHARD_SAMPLES)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65536))]
    shard_samples: u32,

    /// Delete an earlier packing in OUT and start over
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Layouts of DATA, which are detected; files are recognised by content, not by extension:
  train/ and val/ with a folder per class (also training_set, test_set, test, valid, validation)
  a folder per class, without splits; --val-fraction of it becomes the validation split
  ImageNet: train/n01440764/*.JPEG beside a flat val/, with --val-labels FILE
  ImageNet's archives ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, with --val-labels FILE, not unpacked
  IDX files, as MNIST and datasets like it are published (train-images-idx3-ubyte.gz and companions)

Examples:
  pack-shards photos                                      a folder per class, 10% for validation, into ./out
  pack-shards photos --out shards --val-fraction 0.2      another folder, another fraction
  pack-shards ILSVRC/Data/CLS-LOC --out imagenet --val-labels ILSVRC/LOC_val_solution.csv
                                                          ImageNet from Kaggle's archive
  pack-shards fashion-mnist --max-train 4000 --max-val 1000
                                                          a subset of Fashion-MNIST
  pack-shards photos --strict                             stop at the first image that cannot be read

Then: inspect-shards out, and train --shards out";

fn main() -> ExitCode {
    alexnet::cli::main(|args: PackArguments| {
        alexnet::say!("{}", alexnet::pack::pack_dataset(&args.into())?);
        Ok(())
    })
}

impl From<PackArguments> for PackOptions {
    fn from(args: PackArguments) -> Self {
        let defaults = Self::new(args.data, args.out);
        Self {
            val_fraction: args.val_fraction,
            val_labels: args.val_labels,
            class_names: args.class_names,
            max_train: args.max_train,
            max_val: args.max_val,
            bad_images: if args.strict { BadImages::Stop } else { BadImages::Skip(args.max_bad.unwrap_or_default()) },
            seed: args.seed,
            shard_samples: args.shard_samples,
            num_threads: args.threads.map_or(defaults.num_threads, usize::from),
            begin: if args.force { Begin::Over } else { Begin::Resume },
            ..defaults
        }
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..1.0).contains(&part) => Ok(part),
        _ => Err("expected a number of at least 0 and below 1".into()),
    }
}
