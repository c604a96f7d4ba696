//! Stopping: the first Ctrl-C or SIGTERM ends the run after its step, a second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{IoContext, Result};

/// Exit code of a run that a second signal ended, as shells report SIGINT.
const STOPPED_AT_ONCE: i32 = 130;

/// Whether the run should end after its step. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to end after its step.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a signal, or the program, has asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Listens for SIGINT and SIGTERM on a thread of its own until the process ends.
    pub fn listen(&self) -> Result<()> {
        let stop = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .at("listen for signals in", "/proc/self")?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            let listen = |kind| signal(kind).at("listen for signals in", "/proc/self");
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
        };
        std::thread::spawn(move || {
            runtime.block_on(async move {
                for already_asked in [false, true] {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if already_asked {
                        crate::tell!("stopped at once; the newest checkpoint is whole");
                        std::process::exit(STOPPED_AT_ONCE);
                    }
                    crate::tell!("stopping after this step, with a checkpoint (a second signal stops at once)");
                    stop.request();
                }
            });
        });
        Ok(())
    }
}
