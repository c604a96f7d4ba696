//! What a check found: passed, failed, or not done.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use alexnet::error::{Error, Result, panic_message};

/// One claim, and whether it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The claim's subject: `parity: bf16, two towers, ...`.
    pub name: String,
    pub outcome: Outcome,
    pub found: String,
    /// More of it, line by line.
    pub details: Vec<String>,
}

/// Whether a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Passed,
    /// It does not, or could not be tried.
    Failed,
    /// It was not tried, or not to its end.
    Skipped,
}

impl Outcome {
    /// As the record has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASS",
            Self::Failed => "FAIL",
            Self::Skipped => "not done",
        }
    }
}

impl Checked {
    /// Tries a claim, and says what it found on standard error at once. An error is a failure; so is a panic, since a
    /// GPU that computes nonsense may break what the program takes for granted, and the other claims are still to be
    /// tried.
    pub fn tried(name: impl Into<String>, claim: impl FnOnce() -> Result<Found>) -> Self {
        let (outcome, found, details) = match catch_unwind(AssertUnwindSafe(claim)) {
            Ok(Ok(Found { outcome, what, details })) => (outcome, what, details),
            Ok(Err(error)) => (Outcome::Failed, with_causes(&error), Vec::new()),
            Err(panic) => (Outcome::Failed, format!("it panicked: {}", panic_message(&*panic)), Vec::new()),
        };
        Self { name: name.into(), outcome, found, details }.said()
    }

    /// A claim that failed before there was an answer.
    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Failed, found: why.into(), details: Vec::new() }.said()
    }

    /// A claim that was not tried.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Skipped, found: why.into(), details: Vec::new() }.said()
    }

    fn said(self) -> Self {
        alexnet::tell!("{:<8} {}: {}", self.outcome.word(), self.name, self.found);
        self
    }
}

/// What trying a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub outcome: Outcome,
    pub what: String,
    pub details: Vec<String>,
}

impl Found {
    pub fn passed(what: impl Into<String>) -> Self {
        Self { outcome: Outcome::Passed, what: what.into(), details: Vec::new() }
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, what: what.into(), details: Vec::new() }
    }

    pub fn skipped(what: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, what: what.into(), details: Vec::new() }
    }
}

/// An error and what caused it, in one line.
pub fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_failures_with_their_words() {
        let error = Checked::tried("a claim", || Err(Error::Device("no".into())));
        assert_eq!((error.outcome, error.found.as_str()), (Outcome::Failed, "cuda: no"));
        let panic = Checked::tried("a claim", || panic!("nonsense"));
        assert_eq!((panic.outcome, panic.found.as_str()), (Outcome::Failed, "it panicked: nonsense"));
    }
}
