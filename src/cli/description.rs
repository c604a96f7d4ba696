//! Completions and manual pages. A command describes itself where a variable of its environment asks for that, so that
//! its arguments are known to it alone.

use std::ffi::OsStr;
use std::process::Command;

use clap::ValueEnum;
pub use clap_complete::Shell;

use crate::error::{Error, IoContext, Result};

/// The commands that describe themselves.
pub const COMMANDS: [&str; 11] = [
    "pack-shards",
    "inspect-shards",
    "train",
    "evaluate",
    "predict",
    "report",
    "compare",
    "export",
    "bench",
    "completions",
    "man-pages",
];

/// What asks: `man`, or a shell's name.
const VARIABLE: &str = "ALEXNET_DESCRIPTION";
const MANUAL: &str = "man";

/// What a command can say of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Description {
    /// The script by which a shell completes its arguments.
    Completions(Shell),
    /// Its page for `man`, in roff.
    ManualPage,
}

impl Description {
    /// What this process is asked for.
    pub(super) fn asked() -> Option<Self> {
        let asked = std::env::var_os(VARIABLE)?;
        if asked == OsStr::new(MANUAL) {
            return Some(Self::ManualPage);
        }
        Shell::from_str(asked.to_str()?, true).ok().map(Self::Completions)
    }

    /// Of a command.
    pub(super) fn of(self, mut command: clap::Command) -> Vec<u8> {
        let (name, mut text) = (command.get_name().to_owned(), Vec::new());
        match self {
            Self::Completions(shell) => clap_complete::generate(shell, &mut command, name, &mut text),
            Self::ManualPage => clap_mangen::Man::new(command).render(&mut text).expect("memory"),
        }
        text
    }

    fn name(self) -> String {
        match self {
            Self::Completions(shell) => shell.to_string(),
            Self::ManualPage => MANUAL.into(),
        }
    }
}

/// Runs the command of this name that lies beside this program, and asks it.
pub fn description(name: &str, what: Description) -> Result<Vec<u8>> {
    let path = std::env::current_exe().at("find", "this program")?.with_file_name(name);
    if !path.exists() {
        return Err(Error::data(
            &path,
            "not there: commands are described by themselves; build all of them (cargo build --release --bins), or \
             install them (cargo install --path .)",
        ));
    }
    let output = Command::new(&path).env(VARIABLE, what.name()).output().at("run", &path)?;
    if !output.status.success() || output.stdout.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::data(&path, format!("it did not describe itself ({}): {}", output.status, said.trim())));
    }
    Ok(output.stdout)
}
