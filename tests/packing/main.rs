//! `pack-shards` and `inspect-shards` as people run them: the real binaries, on images made here.

mod bad_input;
mod fixture;
mod images;
mod inspecting;
mod layouts;
mod resuming;
