//! `gpu-check`: whether this machine's GPU computes what the CPU does, and how fast.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::say;
use clap::Parser;
use gpu_check::{GpuCheckOptions, Part, Scale};

/// Check a GPU against the CPU, and measure it beside its ceilings.
///
/// Writes a record after each check: what passed and failed, and tables by layer, by batch size and by stage. Each part
/// runs in a process of its own, so that what breaks one leaves the others. Exits 0 if every check passed, 1 otherwise;
/// no speed fails a check.
#[derive(Debug, Parser)]
#[command(name = "gpu-check", version, max_term_width = 110, after_help = EXAMPLES)]
struct GpuCheckArguments {
    /// Most networks and short measurements, within six minutes. This is the default.
    #[arg(long, conflicts_with_all = ["full", "tiny"])]
    quick: bool,
    /// All networks and longer measurements, within an hour.
    #[arg(long, conflicts_with = "tiny")]
    full: bool,
    /// The smallest of everything: shows that the check itself works.
    #[arg(long, help_heading = "Advanced")]
    tiny: bool,
    /// One part.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// What is left after so many seconds is not done. [default: 360, or 3600 with --full]
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Which GPU, by the driver's count.
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpu: u32,
    /// The folder of the record, DATE-GPU.md; the last one counts.
    #[arg(long, value_name = "DIR", default_value = ".", overrides_with = "out")]
    out: PathBuf,
    /// For the record: the commit that was built. [default: known if tools/gpu-check built it]
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// For its own processes: what to do.
    #[arg(long, hide = true, exclusive = true)]
    job: Option<String>,
    /// For tests: a fault in a task.
    #[arg(long, hide = true)]
    fault: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  gpu-check                          within six minutes, the record in this folder
  gpu-check --only kernels           every kernel alone against the CPU
  gpu-check --only parity            every layer and step against the CPU
  gpu-check --only bench --out DIR   speeds alone

train must lie beside it for NVIDIA's tools, where they are in PATH. CUDA's libraries are searched as train does.";

fn main() -> ExitCode {
    let mut passed = false;
    let code = alexnet::cli::main(|arguments: GpuCheckArguments| {
        if let Some(job) = &arguments.job {
            passed = true;
            return Ok(gpu_check::perform(job)?);
        }
        let (record, path) = gpu_check::run(&options(arguments)?)?;
        passed = record.passed();
        say!("{}; {}", record.summary(), path.display());
        Ok(())
    });
    // Help and errors have their own codes.
    if code == ExitCode::SUCCESS && !passed { ExitCode::FAILURE } else { code }
}

fn options(arguments: GpuCheckArguments) -> anyhow::Result<GpuCheckOptions> {
    let words = std::env::args().skip(1);
    let own = std::env::current_exe()?;
    Ok(GpuCheckOptions {
        ordinal: arguments.gpu,
        only: arguments.only,
        scale: match (arguments.tiny, arguments.full) {
            (true, _) => Scale::Tiny,
            (false, true) => Scale::Full,
            (false, false) => Scale::Quick,
        },
        deadline_seconds: arguments.deadline,
        out: arguments.out,
        command: std::iter::once("gpu-check".to_owned()).chain(words).collect::<Vec<_>>().join(" "),
        commit: arguments
            .commit
            .or_else(|| option_env!("ALEXNET_COMMIT").map(str::to_owned))
            .unwrap_or_else(|| "unknown".into()),
        train: own.with_file_name("train"),
        fault: arguments.fault,
    })
}
