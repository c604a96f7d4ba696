//! The CPU backend as a whole: against PyTorch's numbers, over numbers of threads, and overfitting.

#[path = "../common/networks.rs"]
mod kinds;
mod learning;
mod networks;
mod reference;
mod steps;
mod threads;
