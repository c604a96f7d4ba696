//! What a check found: passed, failed, or not done.

use std::panic::{AssertUnwindSafe, catch_unwind};

use alexnet::error::{Error, Result, panic_message};

/// One claim, and whether it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The claim's subject: `parity: bf16, two towers, ...`.
    pub name: String,
    pub outcome: Outcome,
    pub found: String,
}

/// Whether a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// It does not, or could not be tried.
    Failed,
    /// It was not tried, and need not be.
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
        let (outcome, found) = match catch_unwind(AssertUnwindSafe(claim)) {
            Ok(Ok(Found { holds: true, what })) => (Outcome::Passed, what),
            Ok(Ok(Found { holds: false, what })) => (Outcome::Failed, what),
            Ok(Err(error)) => (Outcome::Failed, with_causes(&error)),
            Err(panic) => (Outcome::Failed, format!("it panicked: {}", panic_message(&*panic))),
        };
        Self { name: name.into(), outcome, found }.said()
    }

    /// A claim that was not tried.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Skipped, found: why.into() }.said()
    }

    fn said(self) -> Self {
        alexnet::tell!("{:<8} {}: {}", self.outcome.word(), self.name, self.found);
        self
    }
}

/// What trying a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub holds: bool,
    pub what: String,
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
