//! Claims about the simulation.

mod captures;
mod faults;
mod kernels;
mod memory;
mod ordering;
mod session;
