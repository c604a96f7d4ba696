//! Runs the binaries `pack-shards` and `inspect-shards` on generated images.

mod bad_input;
mod fixture;
mod images;
mod inspecting;
mod layouts;
mod resuming;
