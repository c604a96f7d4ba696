//! `compare`: the errors of several runs in a table.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::say;
use clap::Parser;

/// Print the errors of runs in a table, with mean and standard deviation over runs that differ by their seed alone.
///
/// Errors are those of the validations in each run's log. `report RUN RUN...` shows the same as a page with curves.
#[derive(Debug, Parser)]
#[command(name = "compare", version, max_term_width = 110, after_help = EXAMPLES)]
struct CompareArguments {
    /// Folders of runs: runs/...
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  compare runs/*
  compare runs/pets-small-1 runs/pets-small-2";

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: CompareArguments| {
        say!("{}", alexnet::report::compare::table(&arguments.runs)?);
        Ok(())
    })
}
