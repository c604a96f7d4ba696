//! What a process that does a job tells the one that started it, line by line in a file: it survives whatever happens
//! to its writer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::alone::Alone;
use super::machine::Machine;
use super::outcome::{Checked, Found, Outcome, with_causes};
use super::speeds::Measured;
use alexnet::error::{Result, panic_message};

/// A line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Note {
    /// A task begins. If nothing follows, the process died of it.
    Begun(String),
    Found(Finding),
    /// The job could not begin.
    Refused(String),
    /// No task is left.
    Ended,
}

/// What a task found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Finding {
    Machine(Machine),
    Checked(Checked),
    Alone(Alone),
    Measured(Measured),
    /// It did what others need.
    Nothing,
}

impl Finding {
    /// Whether something went wrong: what a GPU does after an error tells nothing, so the next task gets a new process.
    pub fn has_failed(&self) -> bool {
        match self {
            Self::Checked(checked) | Self::Alone(Alone { checked, .. }) => checked.outcome == Outcome::Failed,
            Self::Measured(measured) => measured.has_failed(),
            Self::Machine(_) | Self::Nothing => false,
        }
    }

    /// The claim, if it is one.
    pub fn checked(&mut self) -> Option<&mut Checked> {
        match self {
            Self::Checked(checked) | Self::Alone(Alone { checked, .. }) => Some(checked),
            Self::Machine(_) | Self::Measured(_) | Self::Nothing => None,
        }
    }
}

/// A check or a measurement.
pub struct Task<'a> {
    pub name: String,
    pub run: Box<dyn FnOnce() -> Finding + 'a>,
}

impl<'a> Task<'a> {
    pub fn new(name: impl Into<String>, run: impl FnOnce() -> Finding + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Tries a claim.
    pub fn check(name: impl Into<String>, claim: impl FnOnce() -> Result<Found> + 'a) -> Self {
        let name = name.into();
        Self::new(name.clone(), || Finding::Checked(Checked::tried(name, claim)))
    }

    /// Measures; where that fails, why.
    pub fn measure<T>(
        name: impl Into<String>,
        measure: impl FnOnce() -> Result<T> + 'a,
        measured: impl FnOnce(Result<T, String>) -> Measured + 'a,
    ) -> Self {
        let name = name.into();
        Self::new(name.clone(), move || {
            alexnet::tell!("{name}");
            let result = match catch_unwind(AssertUnwindSafe(measure)) {
                Ok(result) => result.map_err(|error| with_causes(&error)),
                Err(panic) => Err(format!("it panicked: {}", panic_message(&*panic))),
            };
            if let Err(error) = &result {
                alexnet::tell!("{name}: not measured: {error}");
            }
            Finding::Measured(measured(result))
        })
    }

    /// Does what others need, and the GPU has no part in: they are not done where it cannot.
    pub fn silent(name: impl Into<String>, act: impl FnOnce() -> Result<()> + 'a) -> Self {
        let name = name.into();
        Self::new(name.clone(), || match act() {
            Ok(()) => Finding::Nothing,
            Err(error) => Finding::Checked(Checked::skipped(name, with_causes(&error))),
        })
    }
}
