//! The two slots of a backend, filled and emptied.

use crate::backend::{Backend, Slot};
use crate::error::Result;
use crate::input::Batch;

/// Puts a batch into each slot.
pub(super) fn upload_both(backend: &mut dyn Backend, batches: &mut Vec<Batch>) -> Result<()> {
    for slot in Slot::ALL {
        backend.upload(slot, batches.pop().expect("a synthetic batch for each slot"))?;
    }
    Ok(())
}

/// Takes the batches of both slots back.
pub(super) fn reclaim_both(backend: &mut dyn Backend, batches: &mut Vec<Batch>) -> Result<()> {
    for slot in Slot::ALL {
        batches.extend(backend.reclaim(slot)?);
    }
    Ok(())
}
