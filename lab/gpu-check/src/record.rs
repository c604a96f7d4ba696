//! The record of a check, as Markdown.

use std::fmt;
use std::path::{Path, PathBuf};

use super::machine::{Machine, today};
use super::options::Extent;
use super::outcome::{Checked, Outcome};
use super::speeds::Speeds;
use super::tables;
use alexnet::error::{IoContext, Result};
use alexnet::publish::publish_bytes;

/// What was found, where, and by what.
pub struct Record {
    pub(super) date: String,
    pub(super) command: String,
    pub(super) commit: String,
    pub(super) extent: Extent,
    pub(super) machine: Machine,
    pub(super) checks: Vec<Checked>,
    pub(super) speeds: Option<Speeds>,
    pub(super) seconds: f64,
}

impl Record {
    pub(super) fn today(command: String, commit: String, extent: Extent, machine: Machine) -> Self {
        Self { date: today(), command, commit, extent, machine, checks: Vec::new(), speeds: None, seconds: 0.0 }
    }

    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.num(Outcome::Failed) == 0
    }

    fn num(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|checked| checked.outcome == outcome).count()
    }

    /// `12 passed, 0 failed, 1 not done`.
    pub fn summary(&self) -> String {
        let [passed, failed, skipped] =
            [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| self.num(outcome));
        format!("{passed} passed, {failed} failed, {skipped} not done")
    }

    /// Writes `<date>-<gpu>.md` into the folder, or `<date>-<gpu>-2.md` and so on: no record is overwritten.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).at("create", folder)?;
        let stem = format!("{}-{}", self.date, slug(&self.machine.gpu));
        let numbered = (2..).map(|number| folder.join(format!("{stem}-{number}.md")));
        let path = std::iter::once(folder.join(format!("{stem}.md"))).chain(numbered).find(|path| !path.exists());
        let path = path.expect("numbers do not end");
        publish_bytes(self.to_string().as_bytes(), &path)?;
        Ok(path)
    }
}

/// As a part of a file's name.
fn slug(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    letters.collect::<String>().split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, command, commit, extent, machine, .. } = self;
        writeln!(out, "# gpu-check on {}, {date}\n", machine.gpu)?;
        writeln!(out, "- Command: `{command}`, commit `{commit}`, version {}", env!("CARGO_PKG_VERSION"))?;
        for (label, words) in &machine.lines {
            writeln!(out, "- {label}: {words}")?;
        }
        writeln!(out, "- Extent: {}, {:.0} s in all", extent.name, self.seconds)?;
        if !self.checks.is_empty() {
            writeln!(out, "\n## Checks: {}\n", self.summary())?;
            writeln!(out, "| | check | found |\n|---|---|---|")?;
            for Checked { name, outcome, found } in &self.checks {
                writeln!(out, "| {} | {name} | {} |", outcome.word(), cell(found))?;
            }
        }
        match &self.speeds {
            Some(speeds) => out.write_str(&tables::markdown(speeds, extent)?),
            None => Ok(()),
        }
    }
}

/// Text that may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let machine = Machine { gpu: "NVIDIA H100 80GB HBM3".into(), lines: vec![("GPU", "a card".into())] };
        let mut record = Record::today("gpu-check".into(), "abc".into(), Extent::TINY, machine);
        let checked = |outcome, found: &str| Checked { name: "a claim".into(), outcome, found: found.into() };
        record.checks = vec![checked(Outcome::Passed, "a | b"), checked(Outcome::Skipped, "why")];
        record
    }

    #[test]
    fn records_of_a_day_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        let record = Record { date: "2026-01-31".into(), ..record() };
        let names = [(); 3].map(|()| name(record.write(folder.path()).expect("written")));
        let expected = ["2026-01-31-nvidia-h100-80gb-hbm3.md", "-2.md", "-3.md"];
        assert!(names.iter().zip(expected).all(|(name, end)| name.ends_with(end)), "{names:?}");
    }

    #[test]
    fn what_was_not_done_is_no_failure_and_bars_do_not_break_tables() {
        let mut record = record();
        assert!(record.passed() && record.to_string().contains("| PASS | a claim | a \\| b |"), "{record}");
        record.checks[1].outcome = Outcome::Failed;
        assert!(!record.passed());
        assert!(record.to_string().contains("1 passed, 1 failed, 0 not done"), "{record}");
    }
}
