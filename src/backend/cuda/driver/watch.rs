//! Timing work on a stream.

use std::sync::Arc;

use super::{Context, Event, Priority, Stream, Timing};
use crate::error::Result;

/// The fastest of so many rounds counts.
const ROUNDS: usize = 5;

/// Times work on a stream of its own.
pub struct Watch {
    context: Arc<Context>,
    stream: Stream,
    begun: Event,
    ended: Event,
    repeats: usize,
}

impl Watch {
    pub fn new(context: &Arc<Context>, repeats: usize) -> Result<Self> {
        let event = || Event::new(context, Timing::Yes);
        let stream = Stream::new(context, Priority::Last)?;
        Ok(Self { context: Arc::clone(context), stream, begun: event()?, ended: event()?, repeats })
    }

    /// Seconds of one piece of `work`, which enqueues it: of a round of many, the shortest round. Has waited for all of
    /// it.
    pub fn shortest(&self, mut work: impl FnMut(&Stream) -> Result<()>) -> Result<f64> {
        let mut rounds = || {
            work(&self.stream)?;
            let mut shortest = f64::INFINITY;
            for _ in 0..ROUNDS {
                self.stream.record(&self.begun)?;
                for _ in 0..self.repeats {
                    work(&self.stream)?;
                }
                self.stream.record(&self.ended)?;
                self.ended.synchronize()?;
                shortest = shortest.min(self.ended.seconds_since(&self.begun)?);
            }
            Ok(shortest / self.repeats as f64)
        };
        let seconds = rounds();
        // Where a call failed, those before it may be under way.
        self.context.synchronize()?;
        seconds
    }
}
