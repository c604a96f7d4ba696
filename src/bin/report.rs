//! `report`: a page about a run, or about several.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::cli::ComputeArguments;
use alexnet::report::{ReportOptions, compare, tensorboard};
use alexnet::train::stop::Stop;
use alexnet::{Error, say};
use clap::Parser;

/// Write a page about a run: curves, kernels, predictions, errors by class, and where the time went.
///
/// The page is one HTML file that needs nothing else. It is drawn from the run's folder and from the shards that its
/// config.toml names; a run that is still going can be reported too. Of several runs, the page compares what their logs
/// say.
#[derive(Debug, Parser)]
#[command(name = "report", version, max_term_width = 110, allow_negative_numbers = true, after_help = EXAMPLES)]
struct ReportArguments {
    /// Folders of runs: runs/...
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page. [default: RUN/report.html; of several runs compare.html beside the first]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The dataset, if it is not where the run's config.toml says.
    #[arg(long, value_name = "OUT")]
    shards: Option<PathBuf>,
    /// The checkpoint to look at. [default: that of the lowest validation error, or the newest]
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Look at only the first N validation images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Images per batch.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: u32,
    /// Instead of a page, write each run's log as an event file of TensorBoard, into DIR/RUN.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "shards", "checkpoint", "limit"])]
    tensorboard: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Threads that crop. [default: 1 if the CPU computes, all cores but one if a GPU does]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  report runs/pets-small-1                       writes runs/pets-small-1/report.html
  report runs/pets-small-1 --shards /data/pets   the shards have moved
  report runs/imagenet-alexnet-1 --limit 5000    sooner, from a part of the validation images
  report runs/pets-small-1 runs/pets-small-2     compares runs
  report --tensorboard events runs/*             then: tensorboard --logdir events";

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: ReportArguments| match (&arguments.tensorboard, arguments.runs.as_slice()) {
        (Some(folder), runs) => {
            for path in tensorboard::write(runs, folder)? {
                say!("{}", path.display());
            }
            Ok(())
        }
        (None, [_]) => report(arguments),
        (None, _) => compare(&arguments),
    })
}

fn report(arguments: ReportArguments) -> anyhow::Result<()> {
    let stop = Stop::default();
    stop.listen()?;
    let options = ReportOptions {
        run: arguments.runs.into_iter().next().expect("clap asks for one"),
        out: arguments.out,
        shards: arguments.shards,
        checkpoint: arguments.checkpoint,
        limit: arguments.limit.map(|limit| limit as usize),
        batch_size: arguments.batch_size as usize,
        compute: arguments.compute.choice(),
        workers: arguments.workers.map(usize::from),
    };
    let reported = alexnet::report::report(&options, &stop)?;
    if let Some(missing) = &reported.missing {
        alexnet::tell!("without the parts that need images: {missing}");
    }
    say!("{}", reported.page.display());
    Ok(())
}

fn compare(arguments: &ReportArguments) -> anyhow::Result<()> {
    if arguments.shards.is_some() || arguments.checkpoint.is_some() || arguments.limit.is_some() {
        let problem =
            "--shards, --checkpoint and --limit are for the report of one run; several are compared by their logs";
        return Err(Error::usage(problem).into());
    }
    let page = compare::page(&arguments.runs, arguments.out.as_deref())?;
    say!("{}", page.display());
    Ok(())
}
