//! Errors say what is wrong and where, what was expected and found, and what to do.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

/// The library's `Result`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault in the input or the machine. Broken invariants of the code panic instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system reported an error.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The failed action, as a verb such as `read` or `create`.
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// A file or folder has the wrong contents.
    #[error("{}: {problem}", path.display())]
    Data {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was expected and found, and what to do.
        problem: String,
    },
    /// The command line or a recipe asks for something impossible; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Training failed, for example because the loss is not finite.
    #[error("{0}")]
    Training(String),
    /// The GPU or one of its libraries reported an error.
    #[error("cuda: {0}")]
    Device(String),
    /// The input pipeline stopped for a reason other than a file.
    #[error("the input pipeline: {0}")]
    Input(String),
}

impl Error {
    /// Makes an [`Error::Data`].
    pub fn data(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// Makes an [`Error::Usage`].
    pub fn usage(problem: impl Into<String>) -> Self {
        Self::Usage(problem.into())
    }
}

/// The message of a caught panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

/// Adds the action and the path to an [`io::Error`].
pub trait IoContext<T> {
    /// `action` is a verb, such as "read" or "create".
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.as_ref().to_path_buf(), source })
    }
}
