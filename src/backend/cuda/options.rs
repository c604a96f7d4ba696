//! How the CUDA backend runs, beside what every backend is told.

use super::libraries::tuning::{Repeatable, Search};

/// What only a GPU can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// Whether steps are recorded.
    pub graphs: Graphs,
    /// Where convolutions' algorithms come from.
    pub search: Search,
    /// Which of them may be taken.
    pub repeatable: Repeatable,
}

/// Whether steps are recorded into CUDA graphs and replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Graphs {
    /// One call launches a step.
    #[default]
    Used,
    /// `--no-graph`: every kernel is launched on its own, so that a failure names it.
    Unused,
}
