//! What a device that works by itself says of its times.

use crate::trace::Interval;

/// When the device did a step and the upload before it, by its own clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceTimes {
    /// The batch crossed to the device.
    pub upload: Interval,
    /// From the step's first operation to its last.
    pub step: Interval,
}
