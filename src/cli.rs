//! What every command shares: parsing, exit codes, one clear cause chain.

use std::process::ExitCode;

use crate::error::Error;

/// Exit codes.
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Parses the arguments and runs a command: exit 0 when it is done, 1 when it failed, 2 on wrong usage.
pub fn main<A: clap::Parser>(run: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    // clap prints help and exits 0, or an error and exits 2.
    match run(A::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let usage = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Usage(_))));
            ExitCode::from(if usage { WRONG_USAGE } else { FAILED })
        }
    }
}
