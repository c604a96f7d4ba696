//! The order of a step, once for every backend.

use super::{Backend, Pass};
use crate::error::Result;
use crate::model::network::NUM_LAYERS;

/// Forward, loss, backward and update: what [`Backend::replay`] runs for [`Pass::Train`]; forward and loss for
/// [`Pass::Eval`].
pub fn step<B: Backend>(backend: &mut B, pass: Pass) -> Result<()> {
    for layer in 0..NUM_LAYERS {
        backend.forward(layer, pass)?;
    }
    backend.loss(pass)?;
    if pass == Pass::Train {
        for layer in (0..NUM_LAYERS).rev() {
            backend.backward(layer)?;
            backend.update(layer)?;
        }
    }
    Ok(())
}
