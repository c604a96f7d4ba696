//! The record of a check, as Markdown.

use std::fmt;
use std::path::{Path, PathBuf};

use super::alone::{self, Alone};
use super::clocks::{self, ClocksSeen};
use super::machine::{Machine, today};
use super::options::GpuCheckOptions;
use super::outcome::{Checked, Outcome};
use super::speeds::Speeds;
use super::tables;
use alexnet::error::{IoContext, Result};
use alexnet::publish::publish_bytes;

/// What was found, where, and by what.
pub struct Record {
    pub(super) date: String,
    pub(super) options: GpuCheckOptions,
    /// None until the first job has found it.
    pub(super) machine: Option<Machine>,
    /// Kernels and products alone.
    pub(super) alone: Vec<Alone>,
    /// Everything else.
    pub(super) checks: Vec<Checked>,
    pub(super) speeds: Speeds,
    pub(super) clocks: Vec<ClocksSeen>,
    /// What was begun; a record that was finished has nothing.
    pub(super) under_way: Option<String>,
    pub(super) seconds: f64,
}

impl Record {
    pub(super) fn today(options: &GpuCheckOptions) -> Self {
        Self {
            date: today(),
            options: options.clone(),
            machine: None,
            alone: Vec::new(),
            checks: Vec::new(),
            speeds: Speeds::default(),
            clocks: Vec::new(),
            under_way: None,
            seconds: 0.0,
        }
    }

    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.all().all(|checked| checked.outcome != Outcome::Failed)
    }

    /// `12 passed, 0 failed, 1 not done`.
    pub fn summary(&self) -> String {
        summary(self.all())
    }

    /// All claims, in the record's order.
    fn all(&self) -> impl Iterator<Item = &Checked> {
        self.alone.iter().map(|alone| &alone.checked).chain(&self.checks)
    }

    /// `<date>-<gpu>.md` in the folder, or `<date>-<gpu>-2.md` and so on: no record is overwritten. Makes the folder.
    pub(super) fn free_path(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).at("create", folder)?;
        let stem = format!("{}-{}", self.date, slug(self.gpu()));
        let numbered = (2..).map(|number| folder.join(format!("{stem}-{number}.md")));
        let path = std::iter::once(folder.join(format!("{stem}.md"))).chain(numbered).find(|path| !path.exists());
        Ok(path.expect("numbers do not end"))
    }

    /// Whole or not at all, in the place of what it was before.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        publish_bytes(self.to_string().as_bytes(), path)
    }

    fn gpu(&self) -> &str {
        self.machine.as_ref().map_or("an unknown GPU", |machine| &machine.gpu)
    }
}

fn summary<'a>(checks: impl Iterator<Item = &'a Checked>) -> String {
    let outcomes: Vec<Outcome> = checks.map(|checked| checked.outcome).collect();
    let [passed, failed, skipped] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped]
        .map(|outcome| outcomes.iter().filter(|other| **other == outcome).count());
    format!("{passed} passed, {failed} failed, {skipped} not done")
}

/// As a part of a file's name.
fn slug(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    letters.collect::<String>().split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, options, machine, alone, checks, speeds, clocks, under_way, .. } = self;
        let GpuCheckOptions { command, commit, scale, .. } = options;
        writeln!(out, "# gpu-check on {}, {date}\n", self.gpu())?;
        writeln!(out, "- Command: `{command}`, commit `{commit}`, version {}", env!("CARGO_PKG_VERSION"))?;
        for (label, words) in machine.iter().flat_map(|machine| &machine.lines) {
            writeln!(out, "- {label}: {words}")?;
        }
        writeln!(out, "- Extent: {}, {:.0} s in all", scale.extent().name, self.seconds)?;
        if let Some(name) = under_way {
            writeln!(out, "- **Not finished**: {name} was under way.")?;
        }
        if !alone.is_empty() {
            let checked = alone.iter().map(|alone| &alone.checked);
            writeln!(out, "\n## Kernels and products alone: {}\n", summary(checked))?;
            alone::write_table(out, alone)?;
        }
        if !checks.is_empty() {
            writeln!(out, "\n## Checks: {}\n", summary(checks.iter()))?;
            writeln!(out, "| | check | found |\n|---|---|---|")?;
            for Checked { name, outcome, found, .. } in checks {
                writeln!(out, "| {} | {} | {} |", outcome.word(), cell(name), cell(found))?;
            }
        }
        for Checked { name, details, .. } in self.all().filter(|checked| !checked.details.is_empty()) {
            writeln!(out, "\n### {name}\n")?;
            details.iter().try_for_each(|line| writeln!(out, "- {}", cell(line)))?;
        }
        out.write_str(&tables::markdown(speeds, &scale.extent())?)?;
        write_clocks(out, clocks)
    }
}

fn write_clocks(out: &mut fmt::Formatter<'_>, clocks: &[ClocksSeen]) -> fmt::Result {
    if clocks.iter().all(|seen| seen.rows.is_empty()) {
        return Ok(());
    }
    writeln!(out, "\n## Clocks and power, by nvidia-smi\n")?;
    writeln!(out, "| during | when | {} |", clocks::HEADER.join(" | "))?;
    writeln!(out, "|---|---|{}", "---|".repeat(clocks::HEADER.len()))?;
    for ClocksSeen { name, rows } in clocks {
        rows.iter().try_for_each(|(when, row)| writeln!(out, "| {name} | {when} | {} |", row.join(" | ")))?;
    }
    Ok(())
}

/// Text that may stand in a table.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Scale;

    fn record() -> Record {
        let options = GpuCheckOptions {
            ordinal: 0,
            only: None,
            scale: Scale::Tiny,
            deadline_seconds: None,
            out: PathBuf::new(),
            command: "gpu-check".into(),
            commit: "abc".into(),
            train: PathBuf::new(),
            fault: None,
        };
        let checked = |outcome, found: &str| Checked {
            name: "a claim".into(),
            outcome,
            found: found.into(),
            details: vec!["a line".into()],
        };
        Record {
            machine: Some(Machine { gpu: "NVIDIA H100 80GB HBM3".into(), lines: Vec::new() }),
            checks: vec![checked(Outcome::Passed, "a | b"), checked(Outcome::Skipped, "why")],
            ..Record::today(&options)
        }
    }

    #[test]
    fn records_of_a_day_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = Record { date: "2026-01-31".into(), ..record() };
        let written = || {
            let path = record.free_path(folder.path()).expect("a folder");
            record.write(&path).expect("written");
            path.file_name().expect("a name").to_string_lossy().into_owned()
        };
        let (names, expected) =
            ([(); 3].map(|()| written()), ["2026-01-31-nvidia-h100-80gb-hbm3.md", "-2.md", "-3.md"]);
        assert!(names.iter().zip(expected).all(|(name, end)| name.ends_with(end)), "{names:?}");
    }

    #[test]
    fn what_was_not_done_is_no_failure_and_bars_do_not_break_tables() {
        let mut record = record();
        let text = record.to_string();
        assert!(
            record.passed() && text.contains("| PASS | a claim | a \\| b |") && text.contains("- a line"),
            "{text}"
        );
        record.checks[1].outcome = Outcome::Failed;
        assert!(!record.passed());
        assert!(record.to_string().contains("1 passed, 1 failed, 0 not done"), "{record}");
    }
}
