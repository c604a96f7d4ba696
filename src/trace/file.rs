//! The file of a trace and the thread that writes it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{write_span, write_track};
use super::{MAX_WAITING_SPANS, Span, Tracer, Waiting};
use crate::error::{IoContext, Result};

/// The interval at which waiting spans are written.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// A trace that is being written. The file is an array that is not closed until [`TraceFile::finish`], as the format
/// allows: the trace of a run that was killed can be read up to its last complete line.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    tracer: Tracer,
    ended: Arc<AtomicBool>,
    writer: Option<JoinHandle<io::Result<u64>>>,
}

/// The contents of a finished trace, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSummary {
    /// The number of spans written.
    pub num_spans: u64,
    /// The number of spans left out because they came faster than they could be written.
    pub num_dropped: u64,
}

impl TraceFile {
    /// Begins a trace at `path`, overwriting an older file; its time starts now.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).at("create", path)?;
        let (tracer, ended) = (Tracer::on(), Arc::new(AtomicBool::new(false)));
        let waiting = Arc::clone(tracer.0.as_ref().expect("a tracer that is on"));
        let (told, origin) = (Arc::clone(&ended), Instant::now());
        let write = move || write_all(BufWriter::new(file), &waiting, origin, &told);
        let writer = std::thread::Builder::new().name("trace".into()).spawn(write).at("start a thread for", path)?;
        Ok(Self { path: path.to_path_buf(), tracer, ended, writer: Some(writer) })
    }

    /// Records into this trace.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Writes the waiting spans and closes the array.
    pub fn finish(mut self) -> Result<TraceSummary> {
        let written = self.join().unwrap_or(Ok(0));
        let num_spans = written.at("write", &self.path)?;
        let num_dropped = self.tracer.0.as_ref().map_or(0, |waiting| waiting.num_dropped.load(Ordering::Relaxed));
        Ok(TraceSummary { num_spans, num_dropped })
    }

    fn join(&mut self) -> Option<io::Result<u64>> {
        self.ended.store(true, Ordering::Release);
        let writer = self.writer.take()?;
        writer.thread().unpark();
        Some(writer.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
    }
}

impl Drop for TraceFile {
    /// A failed run leaves a complete trace too. An error here is dropped, since the run reports its own.
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn write_all(mut out: impl Write, waiting: &Waiting, origin: Instant, ended: &AtomicBool) -> io::Result<u64> {
    let mut spans: Vec<Span> = Vec::with_capacity(MAX_WAITING_SPANS);
    let (mut named, mut num_spans) = (BTreeSet::new(), 0);
    out.write_all(br#"[{"ph":"M","pid":1,"name":"process_name","args":{"name":"alexnet"}}"#)?;
    loop {
        // Read before the spans are taken, so that spans recorded before the end are still written.
        let last = ended.load(Ordering::Acquire);
        std::mem::swap(&mut spans, &mut waiting.spans.lock().unwrap_or_else(PoisonError::into_inner));
        for span in spans.drain(..) {
            if named.insert(span.track) {
                out.write_all(b",\n")?;
                write_track(&mut out, span.track)?;
            }
            out.write_all(b",\n")?;
            write_span(&mut out, &span, origin)?;
            num_spans += 1;
        }
        out.flush()?;
        if last {
            break;
        }
        std::thread::park_timeout(WRITE_EVERY);
    }
    out.write_all(b"\n]\n")?;
    out.flush()?;
    Ok(num_spans)
}
