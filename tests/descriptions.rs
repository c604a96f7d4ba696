//! `completions` and `man-pages`: every command is described, by itself.

use std::path::Path;
use std::process::{Command, Output};

use alexnet::cli::COMMANDS;

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn every_command_is_described() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut described = COMMANDS;
    described.sort_unstable();
    assert_eq!(names, described);
}

#[test]
fn bash_takes_the_completions_of_all_commands() {
    let script = run(env!("CARGO_BIN_EXE_completions"), &["bash"]).stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("completions");
    std::fs::write(&path, script).unwrap();
    let completes = format!("source {} && complete -p {}", path.display(), COMMANDS.join(" "));
    run("bash", &["-c", &completes]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("--checkpoint-every") && text.contains("--val-labels"), "{text}");
    for shell in ["zsh", "fish"] {
        assert!(!run(env!("CARGO_BIN_EXE_completions"), &[shell]).stdout.is_empty(), "{shell}");
    }
}

#[test]
fn manual_pages_have_the_options_of_their_commands() {
    let folder = tempfile::tempdir().unwrap();
    run(env!("CARGO_BIN_EXE_man-pages"), &[folder.path().join("man1").to_str().unwrap()]);
    for name in COMMANDS {
        let page = std::fs::read_to_string(folder.path().join(format!("man1/{name}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains(".SH OPTIONS") && page.contains(name), "{name}: {page}");
    }
}
