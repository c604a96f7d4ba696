//! Which of several algorithms is taken, and what was measured of them before.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compile::cache_folder;
use crate::error::{Error, IoContext, Result};
use crate::publish::publish_bytes;

/// An algorithm that would run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The library's number of it.
    pub algorithm: u32,
    /// Measured, or the library's estimate.
    pub milliseconds: f32,
    /// Working memory that it needs.
    pub workspace_bytes: usize,
    /// Whether it is bitwise reproducible.
    pub is_repeatable: bool,
}

/// Where algorithms come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// Those that PyTorch takes too: deterministic, and on tensor cores.
    #[default]
    Known,
    /// `--tune`: the fastest of all, timed at the first start and remembered.
    Timed,
}

/// Which algorithms may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeatable {
    /// Only those that are bitwise reproducible.
    #[default]
    Required,
    /// `--fast`: any algorithm, also one whose sums change their order.
    NotNeeded,
}

/// Working memory that an algorithm may need at most.
const MAX_WORKSPACE_BYTES: usize = 1 << 30;

/// What is looked up, and what is remembered.
#[derive(Debug)]
pub(crate) struct Tuning {
    search: Search,
    repeatable: Repeatable,
    /// Card, libraries and precision: all that a time depends on beside the shape.
    setting: String,
    /// From setting, shape and direction to the fastest algorithm's number.
    remembered: BTreeMap<String, u32>,
    /// Where it is remembered; nowhere for a user without a home.
    file: Option<PathBuf>,
    /// In the order in which they were made.
    choices: Vec<Choice>,
}

/// What was taken for a piece of work, and what else there was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// `Forward of ConvolutionShape { ... }`.
    pub work: String,
    /// The number of the algorithm that was taken.
    pub taken: u32,
    /// All that may be taken, the best first.
    pub candidates: Vec<Candidate>,
}

impl Tuning {
    /// Reads what was remembered, where it is asked for.
    pub fn open(search: Search, repeatable: Repeatable, setting: String) -> Result<Self> {
        let mut tuning =
            Self { search, repeatable, setting, remembered: BTreeMap::new(), file: None, choices: Vec::new() };
        if search == Search::Timed {
            tuning.file = cache_folder().map(|folder| folder.join("tuning.json"));
            if let Some(file) = tuning.file.as_ref().filter(|file| file.exists()) {
                let text = fs::read_to_string(file).at("read", file)?;
                let remembered = serde_json::from_str(&text);
                tuning.remembered = remembered
                    .map_err(|error| Error::data(file, format!("not what --tune wrote ({error}); delete it")))?;
            }
        }
        Ok(tuning)
    }

    /// That takes what is known to be good.
    pub fn known() -> Self {
        Self {
            search: Search::Known,
            repeatable: Repeatable::Required,
            setting: String::new(),
            remembered: BTreeMap::new(),
            file: None,
            choices: Vec::new(),
        }
    }

    /// The number of the algorithm to take for `work`: the known one where it can run, the heuristics' first one
    /// otherwise; when tuning, the fastest.
    pub fn pick(
        &mut self,
        work: &str,
        known: Option<u32>,
        heuristics: &[Candidate],
        time: impl FnOnce() -> Result<Vec<Candidate>>,
    ) -> Result<u32> {
        let none = || Error::Device(format!("there is no algorithm for {work}"));
        let mut candidates = heuristics.to_vec();
        let taken = match (self.search, known) {
            (Search::Known, Some(known)) => Ok(known),
            (Search::Known, None) => self.first(heuristics).ok_or_else(none),
            (Search::Timed, _) => {
                let key = format!("{}, {:?}, {work}", self.setting, self.repeatable);
                match self.remembered.get(&key) {
                    Some(algorithm) => Ok(*algorithm),
                    None => {
                        candidates = time()?;
                        candidates.sort_by(|one, other| one.milliseconds.total_cmp(&other.milliseconds));
                        let fastest = self.first(&candidates).ok_or_else(none)?;
                        self.remembered.insert(key, fastest);
                        Ok(fastest)
                    }
                }
            }
        }?;
        self.choices.push(Choice { work: work.to_owned(), taken, candidates });
        Ok(taken)
    }

    /// What was taken for each piece of work.
    pub fn into_choices(self) -> Vec<Choice> {
        self.choices
    }

    /// Writes down what was timed.
    pub fn remember(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let folder = file.parent().expect("the file lies in a folder");
        fs::create_dir_all(folder).at("create", folder)?;
        let text = serde_json::to_string_pretty(&self.remembered).expect("strings and numbers are JSON");
        publish_bytes(text.as_bytes(), file)
    }

    /// Whether an algorithm is as reproducible, and as modest, as was asked for.
    pub fn may_take(&self, candidate: &Candidate) -> bool {
        (candidate.is_repeatable || self.repeatable == Repeatable::NotNeeded)
            && candidate.workspace_bytes <= MAX_WORKSPACE_BYTES
    }

    fn first(&self, candidates: &[Candidate]) -> Option<u32> {
        candidates.iter().find(|candidate| self.may_take(candidate)).map(|candidate| candidate.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        let candidate = |algorithm, milliseconds, workspace_bytes, is_repeatable| Candidate {
            algorithm,
            milliseconds,
            workspace_bytes,
            is_repeatable,
        };
        vec![
            candidate(1, 3.0, 0, true),
            candidate(0, 1.0, 0, false),
            candidate(4, 2.0, 0, true),
            candidate(5, 0.5, MAX_WORKSPACE_BYTES + 1, true),
        ]
    }

    fn tuning(search: Search, repeatable: Repeatable) -> Tuning {
        Tuning { search, repeatable, ..Tuning::known() }
    }

    fn pick(tuning: &mut Tuning, known: Option<u32>) -> u32 {
        tuning.pick("a convolution", known, &candidates(), || Ok(candidates())).expect("a candidate")
    }

    #[test]
    fn heuristics_help_where_the_known_one_does_not_run() {
        assert_eq!(pick(&mut tuning(Search::Known, Repeatable::Required), Some(7)), 7);
        assert_eq!(pick(&mut tuning(Search::Known, Repeatable::Required), None), 1);
    }

    #[test]
    fn tuning_takes_the_fastest_that_repeats_and_fits() {
        assert_eq!(pick(&mut tuning(Search::Timed, Repeatable::Required), Some(1)), 4);
        assert_eq!(pick(&mut tuning(Search::Timed, Repeatable::NotNeeded), Some(1)), 0);
    }
}
