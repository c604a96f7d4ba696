//! Claims about the simulation.

mod captures;
mod convolutions;
mod faults;
mod kernels;
mod memory;
mod ordering;
mod products;
mod session;
mod shim;
