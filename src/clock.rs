//! Time, as devices of chosen times keep it: the wall's, or one that moves only when someone waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Tells the time and waits. Clones tell the same time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Real time.
    Wall,
    /// Time that passes only by waiting, so that whatever happens on it happens the same way each time.
    Manual(Arc<Mutex<Instant>>),
}

impl Clock {
    /// A clock that stands still until someone waits.
    pub fn manual() -> Self {
        Self::Manual(Arc::new(Mutex::new(Instant::now())))
    }

    /// What it shows.
    pub fn now(&self) -> Instant {
        match self {
            Self::Wall => Instant::now(),
            Self::Manual(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Returns when it shows `moment` or later.
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
