//! The device's clock, on the host's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::cuda::driver::{Context, Event, Stream, Timing};
use crate::error::Result;
use crate::trace::Interval;

/// Turns events into moments, by one event whose moment is known.
///
/// Durations are exact to half a microsecond. The driver gives the time since the known event in f32, so a moment is
/// exact to a microsecond in the first 16 seconds, and to 2^-24 of the time that has gone later: 0.1 ms after half an
/// hour.
#[derive(Debug)]
pub struct DeviceClock {
    known: Event,
    at: Instant,
}

impl DeviceClock {
    /// Waits for an event on an idle stream.
    pub fn new(context: &Arc<Context>, stream: &Stream) -> Result<Self> {
        let known = Event::new(context, Timing::Yes)?;
        stream.record(&known)?;
        known.synchronize()?;
        Ok(Self { known, at: Instant::now() })
    }

    /// Between two events that have been reached.
    pub fn interval(&self, begun: &Event, ended: &Event) -> Result<Interval> {
        let duration = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        let begun_at = self.at + duration(begun.seconds_since(&self.known)?);
        Ok(Interval { begun: begun_at, ended: begun_at + duration(ended.seconds_since(begun)?) })
    }
}
