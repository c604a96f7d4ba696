//! The CPU backend as a whole: against PyTorch's numbers, over numbers of threads, and learning by heart.

mod learning;
mod reference;
mod steps;
mod threads;
