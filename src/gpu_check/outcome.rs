//! What a check found: passed, failed, or not done.

/// One claim, and whether it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The claim's subject: `parity: bf16, two towers, ...`.
    pub name: String,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
}

/// Whether a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
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
    /// A claim that was tried, said on standard error at once; an error is a failure.
    pub fn tried(name: impl Into<String>, tried: crate::error::Result<Found>) -> Self {
        let (outcome, found) = match tried {
            Ok(Found { holds: true, what }) => (Outcome::Passed, what),
            Ok(Found { holds: false, what }) => (Outcome::Failed, what),
            Err(error) => (Outcome::Failed, with_causes(&error)),
        };
        Self { name: name.into(), outcome, found }.said()
    }

    /// A claim that was not tried.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Skipped, found: why.into() }.said()
    }

    fn said(self) -> Self {
        crate::tell!("{:<8} {}: {}", self.outcome.word(), self.name, self.found);
        self
    }
}

/// What trying a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether it holds.
    pub holds: bool,
    /// In words.
    pub what: String,
}

/// An error and what caused it, in one line.
pub fn with_causes(error: &crate::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
