//! `completions`: what a shell needs to complete all commands.

use std::process::ExitCode;

use alexnet::cli::{self, Shell};
use clap::Parser;

/// Print the completions of all commands for a shell.
#[derive(Debug, Parser)]
#[command(name = "completions", version, max_term_width = 110, after_help = EXAMPLES)]
struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  completions bash > ~/.local/share/bash-completion/completions/train     (and source it, or begin a new shell)
  completions fish > ~/.config/fish/completions/train.fish
  eval \"$(completions zsh)\"                                              (in ~/.zshrc, behind compinit)";

fn main() -> ExitCode {
    cli::main(|arguments: CompletionsArguments| {
        for name in cli::COMMANDS {
            cli::write(&cli::description(name, cli::Description::Completions(arguments.shell))?)?;
        }
        Ok(())
    })
}
