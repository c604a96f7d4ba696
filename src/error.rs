//! What can be wrong with the input: what, where, what was expected and found, and what to do.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault of the input or of the machine. Broken invariants of the code panic instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or folder is not what it should be.
    #[error("{}: {problem}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// Expected, found, and what to do.
        problem: String,
    },
    /// The command line or a recipe asks for what cannot be: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The training itself failed (a loss that is not finite).
    #[error("{0}")]
    Training(String),
    /// The GPU or one of its libraries refused.
    #[error("cuda: {0}")]
    Device(String),
    /// The input pipeline stopped for a reason that lies in no file.
    #[error("the input pipeline: {0}")]
    Input(String),
}

impl Error {
    /// A [`Error::Data`] of a path.
    pub fn data(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// A [`Error::Usage`].
    pub fn usage(problem: impl Into<String>) -> Self {
        Self::Usage(problem.into())
    }
}

/// What a panic that was caught says.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

/// Gives an [`io::Error`] its place.
pub trait IoContext<T> {
    /// `action` is a verb: "read", "create".
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.as_ref().to_path_buf(), source })
    }
}
