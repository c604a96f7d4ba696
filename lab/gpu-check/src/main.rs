//! `gpu-check`: whether this machine's GPU computes what the CPU does, and how fast.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::say;
use clap::Parser;
use gpu_check::{Extent, GpuCheckOptions, Part};

/// Check a GPU against the CPU, and measure it beside its ceilings.
///
/// Writes a record: what passed and failed, and tables by layer, by batch size and by stage. Exits 0 if every check
/// passed, 1 otherwise; no speed fails a check.
#[derive(Debug, Parser)]
#[command(name = "gpu-check", version, max_term_width = 110, after_help = EXAMPLES)]
struct GpuCheckArguments {
    /// Fewer networks and shorter measurements: some minutes.
    #[arg(long)]
    quick: bool,
    /// The smallest of everything: shows that the check itself works.
    #[arg(long, conflicts_with = "quick", help_heading = "Advanced")]
    tiny: bool,
    /// One part.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Which GPU, by the driver's count.
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpu: u32,
    /// The folder of the record, DATE-GPU.md.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// For the record: the commit that was built. [default: known if tools/gpu-check built it]
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  gpu-check --quick                  some minutes, the record in this folder
  gpu-check --only parity            every kernel, layer and step against the CPU
  gpu-check --only bench --out DIR   speeds alone

train must lie beside it for compute-sanitizer, where that is in PATH. CUDA's libraries are searched as train does.";

fn main() -> ExitCode {
    let mut passed = false;
    let code = alexnet::cli::main(|arguments: GpuCheckArguments| {
        let out = arguments.out.clone();
        let record = gpu_check::run(&options(arguments)?)?;
        let path = record.write(&out)?;
        passed = record.passed();
        say!("{}; {}", record.summary(), path.display());
        Ok(())
    });
    // Help and errors have their own codes.
    if code == ExitCode::SUCCESS && !passed { ExitCode::FAILURE } else { code }
}

fn options(arguments: GpuCheckArguments) -> anyhow::Result<GpuCheckOptions> {
    let extent = match (arguments.tiny, arguments.quick) {
        (true, _) => Extent::TINY,
        (false, true) => Extent::QUICK,
        (false, false) => Extent::FULL,
    };
    let words = std::env::args().skip(1);
    let own = std::env::current_exe()?;
    Ok(GpuCheckOptions {
        ordinal: arguments.gpu,
        only: arguments.only,
        extent,
        command: std::iter::once("gpu-check".to_owned()).chain(words).collect::<Vec<_>>().join(" "),
        commit: arguments
            .commit
            .or_else(|| option_env!("ALEXNET_COMMIT").map(str::to_owned))
            .unwrap_or_else(|| "unknown".into()),
        train: own.with_file_name("train"),
    })
}
