//! A run as its folder tells it: settings, log, checkpoints. A run that is still going can be read too.

use std::path::{Path, PathBuf};

use toml::Table;

use crate::error::{Error, IoContext, Result};
use crate::recipe::Recipe;
use crate::train::checkpoint;
use crate::train::log::{self, Kind, Line};

/// What lies in a run's folder.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub path: PathBuf,
    /// The folder's own name.
    pub name: String,
    pub recipe: Recipe,
    /// `[run]` of `config.toml`.
    pub info: Table,
    pub lines: Vec<Line>,
    /// By rising step.
    pub checkpoints: Vec<(u64, PathBuf)>,
}

impl Run {
    pub fn read(path: &Path) -> Result<Self> {
        let config = path.join("config.toml");
        if !config.exists() {
            return Err(Error::data(path, "not a run's folder: it has no config.toml; name a folder that train wrote"));
        }
        let text = std::fs::read_to_string(&config).at("read", &config)?;
        let recipe = Recipe::parse("unnamed", &text, &config.display().to_string())?;
        let mut table: Table = text.parse().map_err(|error| Error::data(&config, format!("{error}")))?;
        let info = match table.remove("run") {
            Some(toml::Value::Table(info)) => info,
            _ => Table::new(),
        };
        // A run that was killed in its first moments has neither.
        let lines = if path.join("log.jsonl").exists() { log::read(path)? } else { Vec::new() };
        let folder = path.join("checkpoints");
        let checkpoints = if folder.is_dir() { checkpoint::list(&folder)? } else { Vec::new() };
        let absolute = path.canonicalize().at("read", path)?;
        let name = absolute.file_name().unwrap_or(absolute.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { path: path.to_path_buf(), name, recipe, info, lines, checkpoints })
    }

    /// A text of `[run]`.
    pub fn told(&self, key: &str) -> Option<&str> {
        self.info.get(key)?.as_str()
    }

    pub fn lines_of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Line> + Clone {
        self.lines.iter().filter(move |line| line.kind == kind)
    }

    /// Steps that the log or a checkpoint knows of.
    pub fn num_steps(&self) -> u64 {
        let checkpoints = self.checkpoints.iter().map(|(step, _)| *step);
        self.lines.iter().map(|line| line.step).chain(checkpoints).max().unwrap_or(0)
    }

    /// Epochs that ended.
    pub fn num_epochs(&self) -> u32 {
        self.lines_of(Kind::Epoch).map(|line| line.epoch + 1).max().unwrap_or(0)
    }

    pub fn last_validation(&self) -> Option<&Line> {
        self.lines_of(Kind::Validation).next_back()
    }

    /// The validation with the lowest top-1 error, the earliest of equals: what training calls the best.
    pub fn best_validation(&self) -> Option<&Line> {
        let known = self.lines_of(Kind::Validation).filter_map(|line| Some((line.top1_error?, line)));
        known.min_by(|(ours, _), (theirs, _)| ours.total_cmp(theirs)).map(|(_, line)| line)
    }

    /// The checkpoint of the best validation, or the newest where that was not kept or there was none.
    pub fn best_checkpoint(&self) -> Option<&(u64, PathBuf)> {
        let best = self.best_validation().map(|line| line.step);
        let kept = self.checkpoints.iter().find(|(step, _)| Some(*step) == best);
        kept.or(self.checkpoints.last())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run without a folder.
    pub fn run_of(name: &str, sets: &[&str], lines: Vec<Line>) -> Run {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let recipe = Recipe::load("small", &sets).unwrap();
        Run { path: name.into(), name: name.into(), recipe, info: Table::new(), lines, checkpoints: Vec::new() }
    }

    pub fn validation(step: u64, epoch: u32, top1_error: f64) -> Line {
        Line {
            top1_error: Some(top1_error),
            top5_error: Some(top1_error / 4.0),
            ..Line::new(Kind::Validation, step, epoch)
        }
    }

    #[test]
    fn the_best_checkpoint_is_that_of_the_lowest_error_if_it_was_kept() {
        let lines = vec![validation(4, 0, 0.5), validation(8, 1, 0.25), validation(12, 2, 0.25)];
        let mut run = run_of("run", &[], lines);
        assert_eq!(run.best_checkpoint(), None);
        run.checkpoints = [0, 4, 12].map(|step| (step, PathBuf::from(step.to_string()))).to_vec();
        assert_eq!(run.best_checkpoint().unwrap().0, 12);
        run.checkpoints.insert(2, (8, "8".into()));
        assert_eq!(run.best_checkpoint().unwrap().0, 8);
    }

    #[test]
    fn a_folder_that_is_no_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let message = Run::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("config.toml"), "{message}");
    }
}
