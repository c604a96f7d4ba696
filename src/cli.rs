//! What every command shares: parsing, exit codes, one clear cause chain.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

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
            crate::tell!("error: {error:#}");
            let usage = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Usage(_))));
            ExitCode::from(if usage { WRONG_USAGE } else { FAILED })
        }
    }
}

/// An argument of milliseconds, 0 to an hour's, with or without decimals.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
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
