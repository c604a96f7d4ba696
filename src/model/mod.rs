//! AlexNet as a table of eight learned layers: the one home of shapes, order and parameters.
//!
//! In: [`crate::recipe`]'s model settings. Out: a [`Network`] that every backend follows, and the
//! [`Parameters`], which own the weights on the host.

pub mod init;
pub mod network;
pub mod parameters;

pub use network::{Block, ConvBlock, DenseBlock, Dropout, Layer, Lrn, Network, Pool, Tail};
pub use parameters::{ParameterLayout, Parameters};
