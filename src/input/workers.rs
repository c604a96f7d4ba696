//! The workers: threads that compute, and end with their owner.

use std::thread::JoinHandle;

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// A pool of threads of its own.
#[derive(Debug)]
pub(super) struct AugmentWorkers {
    /// `None` only while it is dropped.
    pool: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl AugmentWorkers {
    pub(super) fn start(num_workers: usize) -> Result<Self> {
        let mut threads = Vec::with_capacity(num_workers);
        let pool = ThreadPoolBuilder::new()
            .num_threads(num_workers)
            .spawn_handler(|thread| {
                let named = std::thread::Builder::new().name(format!("augment-{}", thread.index()));
                threads.push(named.spawn(|| thread.run())?);
                Ok(())
            })
            .build()
            .map_err(|error| Error::Input(format!("cannot start {num_workers} workers: {error}")))?;
        Ok(Self { pool: Some(pool), threads })
    }

    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Runs the tasks that `body` spawns and waits for all of them. The tasks are only ever taken from the front of
    /// one queue, so those of an earlier batch go before those of a later one; a panic in one of them goes on here.
    pub(super) fn scope<'scope>(&self, body: impl FnOnce(&Scope<'scope>)) {
        self.pool.as_ref().expect("the pool lives as long as its owner").in_place_scope(body);
    }
}

impl Drop for AugmentWorkers {
    fn drop(&mut self) {
        // Dropping a pool tells its threads to end; the library does not wait for them.
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            // A panic of a task has already gone to whoever waited for the task.
            let _ = thread.join();
        }
    }
}
