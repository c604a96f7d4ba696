//! The backend's threads, with scratch memory for each.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool of threads and the scratch memory of each, allocated once.
pub struct Workers<T> {
    pool: Arc<ThreadPool>,
    scratch: Vec<Mutex<Vec<T>>>,
}

impl<T: Copy + Send> Workers<T> {
    /// `num_threads` threads, by default one a core, with `scratch_values` values each.
    pub fn new(num_threads: Option<NonZeroUsize>, scratch_values: usize, zero: T) -> Self {
        let num_threads = num_threads.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let builder = ThreadPoolBuilder::new().num_threads(num_threads).thread_name(|index| format!("compute-{index}"));
        let pool = builder.build().expect("the operating system starts threads");
        let scratch = (0..num_threads).map(|_| Mutex::new(vec![zero; scratch_values])).collect();
        Self { pool: Arc::new(pool), scratch }
    }

    /// The pool; parallel iterators spread over its threads when they run on one of them.
    pub fn pool(&self) -> Arc<ThreadPool> {
        Arc::clone(&self.pool)
    }

    /// The calling thread's scratch memory, with whatever it held before.
    pub fn scratch(&self) -> MutexGuard<'_, Vec<T>> {
        let index = rayon::current_thread_index().expect("runs on a thread of the pool");
        self.scratch[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn num_threads(&self) -> usize {
        self.scratch.len()
    }

    /// Values of all scratch memories together.
    pub fn num_values(&self) -> usize {
        self.scratch.iter().map(|scratch| scratch.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
