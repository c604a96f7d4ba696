//! A step on the device: what lies in its memory, and the blocks that compute on it.
//!
//! In: batches in [`slot`]s and the host's weights. Out: statistics, gradients, weights. [`memory`] owns the
//! activations, [`weights`] weights, velocities and gradients; a block owns what only it needs.

pub(crate) mod block;
pub(crate) mod clock;
pub(crate) mod conv_block;
pub(crate) mod dense_block;
pub(crate) mod input;
pub(crate) mod lane;
pub(crate) mod layout;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod slot;
pub(crate) mod weights;
