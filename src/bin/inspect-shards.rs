//! Shows what a packed dataset contains.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alexnet::error::Error;
use alexnet::publish;
use alexnet::shard::picture::{add_mean, picture};
use alexnet::shard::sheet::sheet;
use alexnet::shard::summary::summary;
use alexnet::shard::verify::verify;
use alexnet::shard::{Dataset, Split};
use anyhow::Context;
use clap::{Parser, ValueEnum};

/// Show what a packed dataset contains: classes, splits, sizes, statistics and the source.
#[derive(Debug, Parser)]
#[command(name = "inspect-shards", version, max_term_width = 110, after_help = EXAMPLES)]
struct InspectArguments {
    /// The folder of shards that pack-shards wrote
    #[arg(default_value = "out")]
    out: PathBuf,

    /// Recompute every checksum; exit 1 if anything is damaged
    #[arg(long)]
    verify: bool,

    /// Draw a contact sheet: samples of each class as the network will see them
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,

    /// Write sample INDEX of --split as a 256 x 256 picture
    #[arg(long, num_args = 2, value_names = ["INDEX", "FILE.png"])]
    export: Option<Vec<String>>,

    /// The split that --export takes its sample from
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,

    /// Print the description as JSON
    #[arg(long, conflicts_with_all = ["verify", "sheet", "export"])]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitName {
    Train,
    Val,
}

const EXAMPLES: &str = "\
Examples:
  inspect-shards                          the dataset in ./out
  inspect-shards shards --verify          check every byte, after a copy to another disk
  inspect-shards shards --sheet sheet.png look at the data before training on it
  inspect-shards shards --export 0 first.png
  inspect-shards shards --json | jq .classes";

fn main() -> ExitCode {
    alexnet::cli::main(inspect)
}

fn inspect(args: InspectArguments) -> anyhow::Result<()> {
    if args.verify {
        verify_all(&args.out)?;
    }
    let dataset = Dataset::open(&args.out)?;
    if let Some(path) = &args.sheet {
        write_png(&sheet(&dataset), path)?;
    }
    if let Some([index, path]) = args.export.as_deref() {
        export(&dataset, args.split, index, Path::new(path))?;
    }
    if args.json {
        alexnet::say!("{}", serde_json::to_string_pretty(dataset.info())?);
    } else if !args.verify && args.sheet.is_none() && args.export.is_none() {
        print!("{}", summary(&args.out, dataset.info()));
    }
    Ok(())
}

fn verify_all(out: &Path) -> anyhow::Result<()> {
    let verification = verify(out)?;
    for damage in &verification.damages {
        alexnet::tell!("damaged: {damage}");
    }
    if !verification.damages.is_empty() {
        let problem =
            format!("{} damaged parts, {} samples are intact", verification.damages.len(), verification.num_sound);
        return Err(Error::data(out, problem).into());
    }
    alexnet::say!("all {} samples verified", verification.num_sound);
    Ok(())
}

fn export(dataset: &Dataset, split: SplitName, index: &str, path: &Path) -> anyhow::Result<()> {
    let split = match split {
        SplitName::Train => Split::Train,
        SplitName::Val => Split::Val,
    };
    let samples = dataset.split(split);
    let index = match index.parse::<usize>() {
        Ok(index) if index < samples.num_samples() => index,
        _ => {
            let problem = format!(
                "--export {index}: expected a sample of 0 to {} of the {} split",
                samples.num_samples().saturating_sub(1),
                split.name()
            );
            return Err(Error::usage(problem).into());
        }
    };
    samples.advise(index..index + 1)?;
    let sample = samples.verified_sample(index)?;
    write_png(&picture(&add_mean(sample.bytes, dataset.mean())), path)?;
    alexnet::say!("{}: {}", path.display(), dataset.info().classes[sample.label as usize].name);
    Ok(())
}

fn write_png(picture: &image::RgbImage, path: &Path) -> anyhow::Result<()> {
    let mut file = publish::unfinished(path)?;
    picture
        .write_to(&mut std::io::BufWriter::new(&mut file), image::ImageFormat::Png)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(publish::publish(file, path)?)
}
