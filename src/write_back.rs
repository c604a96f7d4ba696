//! Brings a file to the disk while it is still being written, so that the last `fsync` has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// The bytes written between two flushes: enough to be worth a flush, few enough to wait for at the end.
const PIECE_BYTES: usize = 32 << 20;

/// A thread that waits for the disk on behalf of a writer.
#[derive(Debug)]
pub struct WriteBack {
    push: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    waiting_bytes: usize,
}

impl WriteBack {
    /// Takes a file that will be written from beginning to end.
    pub fn begin(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // The channel holds nothing, so that `try_send` fails while the thread waits for the disk, and nobody waits for
        // it.
        let (push, pushes) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("write back".into())
            .spawn(move || pushes.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { push, thread, waiting_bytes: 0 })
    }

    /// Notes that another `num_bytes` were written.
    pub fn wrote(&mut self, num_bytes: usize) {
        self.waiting_bytes += num_bytes;
        if self.waiting_bytes >= PIECE_BYTES && self.push.try_send(()).is_ok() {
            self.waiting_bytes = 0;
        }
    }

    /// Must be called before the last `fsync`: the operating system reports a failed write only once, perhaps here.
    pub fn finish(self) -> io::Result<()> {
        drop(self.push);
        self.thread.join().expect("a thread that waits for the disk does not panic")
    }
}
