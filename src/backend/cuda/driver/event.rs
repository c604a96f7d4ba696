//! Events: marks in a stream that other streams and the host can wait for.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUevent_flags};

use super::{Context, check, released};
use crate::error::Result;

/// Whether an event knows when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// [`Event::seconds_since`] can be asked.
    Yes,
    No,
}

/// A mark in a stream. Until it is recorded for the first time it counts as reached.
#[derive(Debug)]
pub struct Event {
    raw: sys::CUevent,
    _context: Arc<Context>,
}

impl Event {
    /// An event that the host sleeps for, instead of spinning.
    pub fn new(context: &Arc<Context>, timing: Timing) -> Result<Self> {
        let flags = match timing {
            Timing::Yes => CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32,
            Timing::No => CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32 | CUevent_flags::CU_EVENT_DISABLE_TIMING as u32,
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the pointer outlives the call, and `Drop` destroys what it makes. (cudarc's own function takes one
        // flag.)
        check("cuEventCreate", unsafe { sys::cuEventCreate(&raw mut raw, flags) }.result())?;
        Ok(Self { raw, _context: Arc::clone(context) })
    }

    /// Waits until the record made last is reached.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: the event lives as long as `self`.
        check("cuEventSynchronize", unsafe { result::event::synchronize(self.raw) })
    }

    /// From `earlier`'s record to this one's; both have [`Timing::Yes`] and are reached.
    pub fn seconds_since(&self, earlier: &Self) -> Result<f64> {
        // SAFETY: both events live.
        let milliseconds = check("cuEventElapsedTime", unsafe { result::event::elapsed(earlier.raw, self.raw) })?;
        Ok(f64::from(milliseconds) / 1e3)
    }

    pub(super) fn raw(&self) -> sys::CUevent {
        self.raw
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`; the driver frees it once it is reached.
        released("cuEventDestroy", unsafe { result::event::destroy(self.raw) });
    }
}
