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
    /// What runs beside the chain of input gradients.
    pub lanes: Lanes,
    /// How much of the GPU a layer's update takes.
    pub updates: UpdateWidth,
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

/// Whether weight gradients and updates run beside the chain of input gradients; for measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lanes {
    /// On streams of their own.
    #[default]
    Beside,
    /// One after another.
    InTurn,
}

/// How much of the GPU a layer's update takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateWidth {
    /// A few multiprocessors, for as long as it needs: it reads and writes memory while the others compute.
    #[default]
    Narrow,
    /// All that are free; for measurements.
    Wide,
}
