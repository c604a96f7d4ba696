//! `bench`: what each stage of training can do alone and what they do together, on this machine.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use alexnet::bench::{self, BenchOptions, Effort, Stage, overlap};
use alexnet::cli::ComputeArguments;
use alexnet::input::Dtype;
use alexnet::say;
use clap::Parser;
use serde::Serialize;

/// Measure input, upload and device alone, and training end to end, in turns.
///
/// The table shows which stage is the bottleneck, and how close training comes to the speed of that stage alone.
/// Neither a run nor a checkpoint is written.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 110, allow_negative_numbers = true, after_help = EXAMPLES)]
struct BenchArguments {
    /// The dataset: a folder that pack-shards wrote.
    #[arg(long, value_name = "OUT", required_unless_present_any = ["overlap", "peers"])]
    shards: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Measure one stage: input, upload, device or end-to-end.
    #[arg(long, value_name = "STAGE")]
    only: Option<Stage>,
    /// Measure for about 20 seconds in all, if a step is short. This is the default.
    #[arg(long, conflicts_with = "thorough")]
    quick: bool,
    /// Measure for several minutes.
    #[arg(long)]
    thorough: bool,
    /// Measure each stage for S seconds in each round.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Measure each stage N times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// A recipe, or a TOML file with the same keys. [default: alexnet]
    #[arg(long, value_name = "NAME|FILE.toml")]
    recipe: Option<String>,
    /// Change one key of the recipe; may be repeated, the last one counts.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Images per step (train.batch_size).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: Option<u32>,
    /// Scale every layer's channels (model.width).
    #[arg(long, value_name = "F")]
    width: Option<f64>,
    /// Threads that crop, mirror and colour-jitter.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// With --only input: make batches of f32 or f16, regardless of the device.
    #[arg(long, requires = "only", value_parser = dtype)]
    dtype: Option<Dtype>,
    /// Explain how to measure other loaders in turns with this one.
    #[arg(long, conflicts_with = "shards")]
    peers: bool,
    /// Measure how input, upload and compute overlap around a synthetic device, at 27 ratios of the three.
    #[arg(long, conflicts_with_all = ["shards", "peers"], help_heading = "Advanced")]
    overlap: bool,
    #[command(flatten)]
    compute: ComputeArguments,
}

const EXAMPLES: &str = "\
Examples:
  bench --shards out                                 the paper's network
  bench --shards out --recipe small --thorough       a narrow one, for minutes
  bench --shards out --only input --workers 2 --json
  bench --peers                                      FFCV, DALI and PyTorch in turns with this";

const PEERS: &str = "\
Other loaders on the same images, in turns with this one (Linux, Python 3.11; see the headers of the scripts):

  benches/peers/install VENV                         a virtual environment with FFCV, DALI and PyTorch, versions pinned
  VENV/bin/python benches/peers/input.py --shards OUT    input alone: images/s of each, and the ratios

The scripts are in the source tree, and the records of what they measured in benches/record/.";

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: BenchArguments| {
        if arguments.peers {
            say!("{PEERS}");
            return Ok(());
        }
        if arguments.overlap {
            // 27 cells a round.
            let short = Effort { stage_time: Duration::from_millis(500), ..Effort::QUICK };
            let long = Effort { stage_time: Duration::from_secs(2), ..Effort::THOROUGH };
            let report = overlap::measure(effort(&arguments, short, long))?;
            print(&report, arguments.json)?;
            return Ok(());
        }
        let json = arguments.json;
        let report = bench::measure(&options(arguments)?)?;
        print(&report, json)?;
        Ok(())
    })
}

fn options(arguments: BenchArguments) -> alexnet::Result<BenchOptions> {
    let effort = effort(&arguments, Effort::QUICK, Effort::THOROUGH);
    let missing = || alexnet::Error::usage("--shards OUT is missing: a folder that pack-shards wrote");
    if arguments.dtype.is_some() && arguments.only != Some(Stage::Input) {
        return Err(alexnet::Error::usage(
            "--dtype goes with --only input: other stages use the type that the device asks for",
        ));
    }
    let mut sets = arguments.sets;
    sets.extend(arguments.batch_size.map(|size| format!("train.batch_size={size}")));
    sets.extend(arguments.width.map(|width| format!("model.width={width:?}")));
    Ok(BenchOptions {
        shards: Some(arguments.shards.ok_or_else(missing)?),
        recipe: arguments.recipe,
        sets,
        compute: arguments.compute.choice(),
        workers: arguments.workers.map(usize::from),
        only: arguments.only,
        dtype: arguments.dtype,
        effort,
    })
}

fn effort(arguments: &BenchArguments, quick: Effort, thorough: Effort) -> Effort {
    let Effort { rounds, stage_time } = if arguments.thorough { thorough } else { quick };
    Effort { rounds: arguments.rounds.map_or(rounds, usize::from), stage_time: arguments.seconds.unwrap_or(stage_time) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.01..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds, 0.01 to 86400".into())
}

fn dtype(text: &str) -> Result<Dtype, String> {
    let found = [Dtype::F32, Dtype::F16].into_iter().find(|dtype| dtype.name() == text);
    found.ok_or_else(|| "expected f32 or f16".into())
}

fn print(report: &(impl Serialize + fmt::Display), json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(report)?);
    } else {
        say!("{report}");
    }
    Ok(())
}
