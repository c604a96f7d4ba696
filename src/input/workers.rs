//! The worker threads of the input, which end with their owner.

use std::thread::JoinHandle;

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

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

    /// Runs the tasks that `body` spawns and waits for all of them. Tasks are taken only from the front of one queue,
    /// so those of an earlier batch come before those of a later one. A panic in a task continues here.
    pub(super) fn scope<'scope>(&self, body: impl FnOnce(&Scope<'scope>)) {
        self.pool.as_ref().expect("the pool lives as long as its owner").in_place_scope(body);
    }
}

impl Drop for AugmentWorkers {
    fn drop(&mut self) {
        // Dropping the pool tells its threads to end, but does not wait for them.
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            // Whoever waited for a task that panicked has seen the panic already.
            let _ = thread.join();
        }
    }
}
