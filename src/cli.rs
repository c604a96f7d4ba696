//! What every command shares: arguments about the device, exit codes, one clear cause chain.

mod description;

use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub use self::description::{COMMANDS, Description, Shell, description};
use crate::backend::cuda::libraries::tuning::{Repeatable, Search};
use crate::backend::cuda::{CudaOptions, Graphs};
use crate::backend::synthetic::Pace;
use crate::backend::{Choice, DeviceChoice, PrecisionChoice};
use crate::error::{Error, IoContext};
use crate::recipe::Recipe;
use crate::weights::Given;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Parses the arguments and runs a command: exit 0 when it is done, 1 when it failed, 2 on wrong usage.
pub fn main<A: clap::Parser>(run: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    if let Some(asked) = Description::asked() {
        return exit_code(write(&asked.of(A::command())));
    }
    // clap prints help and exits 0, or an error and exits 2.
    exit_code(run(A::parse()))
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::tell!("error: {error:#}");
            let usage = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Usage(_))));
            ExitCode::from(if usage { WRONG_USAGE } else { FAILED })
        }
    }
}

/// Who computes, and how: the options that `train`, `bench`, `evaluate` and `predict` share.
#[derive(Debug, clap::Args)]
pub struct ComputeArguments {
    /// auto, cpu, cuda or cuda:N. auto uses a GPU that can train, and where there is none says why.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the matrix products: auto, bf16, tf32 or f32. auto is bf16 on a GPU; a CPU computes in f32.
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,
    /// On a GPU: benchmark all algorithms of each convolution once, and cache the fastest for later runs with --tune.
    #[arg(long)]
    tune: bool,
    /// On a GPU: also use nondeterministic algorithms, which are not bitwise reproducible.
    #[arg(long)]
    fast: bool,
    /// On a GPU: launch each kernel by itself instead of a step as one graph, so that an error names it. Slower.
    #[arg(long)]
    no_graph: bool,
    /// Threads that compute, if the CPU does. The result does not depend on their number. [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Instead of a real device, use one that computes nothing and takes MS milliseconds a step.
    #[arg(long, value_name = "MS", conflicts_with = "device", value_parser = milliseconds, help_heading = "Advanced")]
    synthetic_device: Option<Duration>,
    /// Milliseconds that the synthetic device takes for an upload.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    #[arg(requires = "synthetic_device", help_heading = "Advanced")]
    synthetic_upload: Option<Duration>,
}

impl ComputeArguments {
    /// As the library takes them.
    pub fn choice(&self) -> Choice {
        Choice {
            device: match self.synthetic_device {
                Some(step) => DeviceChoice::Synthetic(Pace { upload: self.synthetic_upload.unwrap_or_default(), step }),
                None => self.device,
            },
            precision: self.precision,
            threads: self.threads.and_then(|threads| NonZeroUsize::new(threads.into())),
            cuda: CudaOptions {
                graphs: if self.no_graph { Graphs::Unused } else { Graphs::Used },
                search: if self.tune { Search::Timed } else { Search::Known },
                repeatable: if self.fast { Repeatable::NotNeeded } else { Repeatable::Required },
                ..CudaOptions::default()
            },
        }
    }
}

/// What is said about a file of weights: the options that `evaluate`, `predict` and `export` share.
#[derive(Debug, clap::Args)]
pub struct WeightsArguments {
    /// Names of the classes, one a line, in the order of their labels. [default: those in the file; for the 1000
    /// classes of another program's, ImageNet's]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// For another program's file: the recipe that its network is of, where the file does not say it.
    #[arg(long, value_name = "NAME|FILE.toml")]
    recipe: Option<String>,
    /// For another program's file: the mean image it was trained with, as Caffe's .binaryproto. [default: that in the
    /// file, or its program's mean colour]
    #[arg(long, value_name = "FILE")]
    mean: Option<PathBuf>,
}

impl WeightsArguments {
    /// As the library takes them.
    pub fn given(self) -> crate::Result<Given> {
        let recipe = self.recipe.map(|name| Recipe::load(&name, &[])).transpose()?;
        Ok(Given { recipe, classes: self.classes, mean: self.mean })
    }
}

/// An argument of milliseconds, 0 to an hour's, with or without decimals.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let expected = || "expected milliseconds, as in 12.5".to_owned();
    let milliseconds: f64 = text.parse().map_err(|_| expected())?;
    if !(0.0..=3.6e6).contains(&milliseconds) {
        return Err(expected());
    }
    Ok(Duration::from_secs_f64(milliseconds / 1e3))
}

/// Writes a line to standard output, a command's result, as `println!` does; but a reader that has gone away ends no
/// training.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => { $crate::cli::write_line(std::io::stdout(), std::format_args!($($arguments)*)) };
}

/// Writes a line to standard error, for whoever watches; a terminal that has gone away ends no training.
#[macro_export]
macro_rules! tell {
    ($($arguments:tt)*) => { $crate::cli::write_line(std::io::stderr(), std::format_args!($($arguments)*)) };
}

/// What [`say!`] and [`tell!`] do.
pub fn write_line(mut stream: impl Write, line: fmt::Arguments<'_>) {
    // There is no one left to tell that no one listens.
    let _ = stream.write_fmt(format_args!("{line}\n"));
}

/// Writes a text that is a command's whole result to standard output.
pub fn write(text: &[u8]) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text).at("write", "standard output")?)
}
