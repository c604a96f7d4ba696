//! `man-pages`: the manual of every command, for `man`.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::error::IoContext;
use alexnet::{cli, publish, say};
use clap::Parser;

/// Write a manual page of every command into a folder.
#[derive(Debug, Parser)]
#[command(name = "man-pages", version, max_term_width = 110, after_help = EXAMPLES)]
struct ManPagesArguments {
    /// The folder, which is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const EXAMPLES: &str = "\
Example:
  man-pages ~/.local/share/man/man1 && man train";

fn main() -> ExitCode {
    cli::main(|arguments: ManPagesArguments| {
        let folder = arguments.folder;
        std::fs::create_dir_all(&folder).at("make", &folder)?;
        for name in cli::COMMANDS {
            let page = cli::description(name, cli::Description::ManualPage)?;
            publish::publish_bytes(&page, &folder.join(format!("{name}.1")))?;
        }
        say!("{} pages in {}", cli::COMMANDS.len(), folder.display());
        Ok(())
    })
}
