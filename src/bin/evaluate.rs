//! `evaluate`: the error of a checkpoint on a dataset's validation split.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::cli::{ComputeArguments, WeightsArguments};
use alexnet::evaluate::{EvaluateOptions, Report};
use alexnet::input::NumViews;
use alexnet::say;

use alexnet::train::stop::Stop;
use clap::Parser;

/// Measure a checkpoint's top-1 and top-5 error on a dataset's validation split.
///
/// With ten views, the softmax outputs for the four corner crops, the centre crop and their mirror images are averaged,
/// as in the paper.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version, max_term_width = 110, allow_negative_numbers = true, after_help = EXAMPLES)]
struct EvaluateArguments {
    /// The dataset: a folder that pack-shards wrote.
    #[arg(long, value_name = "OUT")]
    shards: PathBuf,
    /// The checkpoint: runs/.../checkpoints/step-....safetensors; or AlexNet's weights from torchvision (.pth,
    /// .safetensors), TensorFlow (bvlc_alexnet.npy) or Caffe (.caffemodel), known by their content.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Views of each image: 1 (the centre) or 10.
    #[arg(long, default_value = "1", value_parser = views)]
    views: NumViews,
    /// Evaluate only the first N images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Views per batch.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: u32,
    #[command(flatten)]
    weights: WeightsArguments,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Threads that crop. [default: 1 if the CPU computes, all cores but one if a GPU does]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Print JSON: top1_error, top5_error, views, num_samples.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  evaluate --shards out --checkpoint runs/pets-alexnet-1/checkpoints/step-00004500.safetensors
  evaluate --shards out --checkpoint FILE --views 10 --json";

fn views(text: &str) -> Result<NumViews, String> {
    match text {
        "1" => Ok(NumViews::One),
        "10" => Ok(NumViews::Ten),
        _ => Err("expected 1 or 10".into()),
    }
}

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: EvaluateArguments| {
        let stop = Stop::default();
        stop.listen()?;
        let options = EvaluateOptions {
            shards: arguments.shards,
            checkpoint: arguments.checkpoint,
            given: arguments.weights.given()?,
            views: arguments.views,
            limit: arguments.limit.map(|limit| limit as usize),
            batch_size: arguments.batch_size as usize,
            compute: arguments.compute.choice(),
            workers: arguments.workers.map(usize::from),
        };
        let report = alexnet::evaluate::evaluate(&options, &stop)?;
        if arguments.json {
            say!("{}", serde_json::to_string(&report)?);
        } else {
            print(&report);
        }
        Ok(())
    })
}

fn print(report: &Report) {
    say!(
        "top-1 error {:.2}%, top-5 error {:.2}% of {} images, {} {} each",
        100.0 * report.top1_error,
        100.0 * report.top5_error,
        report.num_samples,
        report.views,
        if report.views == 1 { "view" } else { "views" }
    );
}
