//! Networks as lists of learned layers: the one home of shapes, order and parameters.
//!
//! In: a list of [`LayerSpec`]s; [`crate::recipe::alexnet`] has AlexNet's. Out: a [`Network`] that every backend
//! follows, and the [`Parameters`], which own the weights on the host.

pub mod init;
pub mod layers;
pub mod network;
pub mod parameters;

pub use layers::{BiasRule, Dropout, LayerSpec, Lrn, Pool, Tail};
pub use network::{Block, ConvBlock, DenseBlock, Layer, Network};
pub use parameters::{ParameterLayout, Parameters};
