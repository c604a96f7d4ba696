//! Upload alone: two batches that go to the device again and again.

use super::options::Effort;
use super::slots::{reclaim_both, upload_both};
use crate::backend::{Backend, Slot, Transfer};
use crate::error::Result;
use crate::input::Batch;

#[derive(Clone, Copy, Debug)]
pub(super) struct UploadRound {
    /// None where nothing is copied, so that there is nothing to measure.
    pub(super) speed: Option<UploadSpeed>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct UploadSpeed {
    pub(super) images_per_second: f64,
    pub(super) bytes_per_second: f64,
}

pub(super) fn round(backend: &mut dyn Backend, batches: &mut Vec<Batch>, effort: Effort) -> Result<UploadRound> {
    if backend.transfer() == Transfer::HandedOver {
        return Ok(UploadRound { speed: None });
    }
    let (num_images, num_bytes) = (batches[0].num_valid as f64, batches[0].num_bytes() as f64);
    upload_both(backend, batches)?;
    let mut num_uploads = 0;
    let mut again = || {
        let slot = Slot::of_step(num_uploads);
        num_uploads += 1;
        // A slot's batch comes back when it is on the device; the other slot's is on its way meanwhile.
        let batch = backend.reclaim(slot)?.expect("a batch in each slot");
        backend.upload(slot, batch)
    };
    effort.warm_up(4, &mut again)?;
    let (num_batches, seconds) = effort.measure(&mut again)?;
    reclaim_both(backend, batches)?;
    let per_second = num_batches as f64 / seconds;
    let speed = UploadSpeed { images_per_second: per_second * num_images, bytes_per_second: per_second * num_bytes };
    Ok(UploadRound { speed: Some(speed) })
}
