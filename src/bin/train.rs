//! `train`: from packed shards to a trained network.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::cli::ComputeArguments;
use alexnet::input::PipelineOptions;
use alexnet::recipe::Recipe;
use alexnet::say;
use alexnet::train::options::{Data, Start, TrainOptions};
use alexnet::train::server::Address;
use alexnet::train::stop::Stop;
use alexnet::train::trainer::Outcome;
use clap::Parser;

/// Train AlexNet on a packed dataset.
///
/// While the network trains on one batch, the next ones are cropped, mirrored and colour-jittered. Ctrl-C or SIGTERM
/// finishes the step, writes a checkpoint and exits with 0; --resume continues from there, bit for bit. A second signal
/// stops at once.
#[derive(Debug, Parser)]
#[command(name = "train", version, max_term_width = 110, allow_negative_numbers = true, after_help = EXAMPLES)]
struct TrainArguments {
    /// The dataset: a folder that pack-shards wrote.
    #[arg(long, value_name = "OUT", required_unless_present_any = ["synthetic", "recipe"])]
    shards: Option<PathBuf>,
    /// Train on synthetic batches, without reading shards: shows how fast the device is by itself.
    #[arg(long, conflicts_with = "shards")]
    synthetic: bool,
    /// The run's folder: config.toml, log.jsonl, checkpoints. [default: runs/DATASET-RECIPE-N]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// A recipe, or a TOML file with the same keys; `list` explains the recipes and all keys. [default: alexnet]
    #[arg(long, value_name = "NAME|FILE.toml")]
    recipe: Option<String>,
    /// Change one key of the recipe; may be repeated, the last one counts.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Passes over the training images (train.epochs).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Stop after this many steps, counted from the beginning of the run.
    #[arg(long)]
    steps: Option<u64>,
    /// Images per step (train.batch_size).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: Option<u32>,
    /// Seed of all random numbers (train.seed).
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Scale every layer's channels, rounded to multiples of 8, or 16 with two towers (model.width).
    #[arg(long, value_name = "F")]
    width: Option<f64>,
    /// Host batches in circulation: being filled, waiting, or on their way to the device. They bound the memory of the
    /// input. [default: 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=1024))]
    buffers: Option<u16>,
    /// Threads that crop, mirror and colour-jitter. The result does not depend on their number. [default: 1 if the CPU
    /// trains, all cores but one if a GPU does]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Continue from the run's newest checkpoint (without --run: of the newest run of this dataset and recipe).
    #[arg(long, conflicts_with_all = ["init", "synthetic"])]
    resume: bool,
    /// Start from the weights of a checkpoint, at step 0; or from those of AlexNet from torchvision (.pth,
    /// .safetensors), TensorFlow (bvlc_alexnet.npy) or Caffe (.caffemodel), with --recipe torchvision or caffe.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Write a checkpoint every STEPS steps, in addition to those at the end of each epoch.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Keep the N newest checkpoints; those of step 0 and of the lowest validation error are always kept.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Write a line to log.jsonl every STEPS steps.
    #[arg(long, value_name = "STEPS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Write a timeline of the run, to open in Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Address of the live page (/) and of the metrics for Prometheus (/metrics), or off. [default: 127.0.0.1:9464, or
    /// a free port when that one is taken]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<Address>,
    #[command(flatten)]
    compute: ComputeArguments,
}

const EXAMPLES: &str = "\
Examples:
  train --shards out                                   the paper's network, the paper's training
  train --shards out --recipe small                    a narrow network for a CPU or a small dataset
  train --shards out --set train.learning_rate=0.02    one choice changed
  train --shards out --recipe small --resume           continue the newest run
  train --recipe list                                  explain recipes and keys";

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: TrainArguments| {
        if arguments.recipe.as_deref() == Some("list") {
            say!("{}", Recipe::list().trim_end());
            return Ok(());
        }
        let options = options(arguments)?;
        let stop = Stop::default();
        stop.listen()?;
        report(&alexnet::train::train(&options, &stop)?);
        Ok(())
    })
}

fn options(arguments: TrainArguments) -> alexnet::Result<TrainOptions> {
    let data = match arguments.shards {
        Some(path) => Data::Shards(path),
        None if arguments.synthetic => Data::Synthetic,
        None => return Err(alexnet::Error::usage("--shards OUT is missing: a folder that pack-shards wrote")),
    };
    let short_forms = [
        ("train.epochs", arguments.epochs.map(|epochs| epochs.to_string())),
        ("train.batch_size", arguments.batch_size.map(|size| size.to_string())),
        ("train.seed", arguments.seed.map(|seed| seed.to_string())),
        ("model.width", arguments.width.map(|width| format!("{width:?}"))),
    ];
    let mut sets = arguments.sets;
    sets.extend(short_forms.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
    let start = match arguments.init {
        Some(path) => Start::Init(path),
        None if arguments.resume => Start::Resume,
        None => Start::Fresh,
    };
    Ok(TrainOptions {
        run: arguments.run,
        recipe: arguments.recipe,
        sets,
        start,
        steps: arguments.steps,
        compute: arguments.compute.choice(),
        workers: arguments.workers.map(usize::from),
        buffers: arguments.buffers.map_or(PipelineOptions::DEFAULT_BUFFERS, usize::from),
        checkpoint_every: arguments.checkpoint_every,
        keep: arguments.keep as usize,
        log_every: arguments.log_every,
        metrics: arguments.metrics.unwrap_or(Address::Default),
        trace: arguments.trace,
        ..TrainOptions::new(data)
    })
}

fn report(outcome: &Outcome) {
    say!("{}: {} steps, {:.1} images/s", outcome.ended, outcome.step, outcome.images_per_second);
    if let Some(rates) = &outcome.validation {
        say!(
            "validation top-1 error {:.2}%, top-5 error {:.2}% of {} images",
            100.0 * rates.top1_error,
            100.0 * rates.top5_error,
            rates.num_samples
        );
    }
    match &outcome.checkpoint {
        Some(path) => say!("checkpoint {}", path.display()),
        None => say!("run {}", outcome.run.display()),
    }
}
