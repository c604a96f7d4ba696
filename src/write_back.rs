//! A file on its way to the disk while more of it is written, so that the last `fsync` has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// What is written between two pushes: much for a disk's cache to flush at once, little to wait for at the end.
const PIECE_BYTES: usize = 32 << 20;

/// A thread that waits for the disk in a writer's stead.
#[derive(Debug)]
pub struct WriteBack {
    push: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    waiting_bytes: usize,
}

impl WriteBack {
    /// Of a file that is being written from its beginning to its end.
    pub fn begin(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // Without room for a push: while the thread waits for the disk, nobody waits for the thread.
        let (push, pushes) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("write back".into())
            .spawn(move || pushes.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { push, thread, waiting_bytes: 0 })
    }

    /// Another `num_bytes` were written.
    pub fn wrote(&mut self, num_bytes: usize) {
        self.waiting_bytes += num_bytes;
        if self.waiting_bytes >= PIECE_BYTES && self.push.try_send(()).is_ok() {
            self.waiting_bytes = 0;
        }
    }

    /// To be asked before the last `fsync`: the system reports a failed write once, and here it may have done so.
    pub fn finish(self) -> io::Result<()> {
        drop(self.push);
        self.thread.join().expect("a thread that waits for the disk does not panic")
    }
}
