//! The clock of simulated devices: real time, or time that passes only while someone waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Tells the time and waits. Clones share their time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Real time.
    Wall,
    /// Time that passes only by waiting, so that tests are deterministic.
    Manual(Arc<Mutex<Instant>>),
}

impl Clock {
    /// A manual clock, which stands still until someone waits.
    pub fn manual() -> Self {
        Self::Manual(Arc::new(Mutex::new(Instant::now())))
    }

    /// The current time.
    pub fn now(&self) -> Instant {
        match self {
            Self::Wall => Instant::now(),
            Self::Manual(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Waits until `moment`, or returns at once if it has passed.
    pub fn wait_until(&self, moment: Instant) {
        match self {
            Self::Wall => std::thread::sleep(moment.saturating_duration_since(Instant::now())),
            Self::Manual(time) => {
                let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
                *time = moment.max(*time);
            }
        }
    }
}
