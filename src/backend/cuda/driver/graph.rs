//! Graphs: work that was recorded once and is launched again with one call.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::{Context, Stream, check, released};
use crate::error::Result;

/// A recording under way; dropped without [`Capture::finish`] it is ended and forgotten.
#[derive(Debug)]
pub struct Capture<'a> {
    stream: &'a Stream,
    is_open: bool,
}

/// Recorded work; each piece keeps the priority of the stream that it was enqueued on. It keeps no memory alive: the
/// backend that recorded it does.
#[derive(Debug)]
pub struct Graph {
    exec: sys::CUgraphExec,
    _context: Arc<Context>,
}

impl<'a> Capture<'a> {
    /// From now on calls on `stream`, and on streams that wait for its events, are recorded instead of run.
    pub fn begin(stream: &'a Stream) -> Result<Self> {
        // Other threads may go on allocating and copying meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as the capture.
        check("cuStreamBeginCapture", unsafe { result::stream::begin_capture(stream.raw(), mode) })?;
        Ok(Self { stream, is_open: true })
    }

    /// Ends the recording and makes it ready to be launched.
    pub fn finish(mut self) -> Result<Graph> {
        // SAFETY: `begin` began the capture on this stream. Where this fails, `Drop` tries again, lest the stream goes
        // on recording.
        let graph = check("cuStreamEndCapture", unsafe { result::stream::end_capture(self.stream.raw()) })?;
        self.is_open = false;
        // Without this flag all nodes would run with the priority of the stream that the graph is launched on.
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
        // SAFETY: the graph was just made.
        let exec = unsafe { result::graph::instantiate(graph, flags) };
        // SAFETY: what was instantiated does not need the graph any more.
        released("cuGraphDestroy", unsafe { result::graph::destroy(graph) });
        Ok(Graph { exec: check("cuGraphInstantiate", exec)?, _context: Arc::clone(self.stream.context()) })
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        // SAFETY: `begin` began the capture. What failed in between has been reported by the call that failed.
        if let Ok(graph) = unsafe { result::stream::end_capture(self.stream.raw()) }
            && !graph.is_null()
        {
            // SAFETY: made by the line above.
            released("cuGraphDestroy", unsafe { result::graph::destroy(graph) });
        }
    }
}

impl Graph {
    /// Enqueues all of it.
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both live, and the memory that it was recorded with is the backend's, which outlives it.
        check("cuGraphLaunch", unsafe { result::graph::launch(self.exec, stream.raw()) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `Capture::finish`; the driver waits for launches under way.
        released("cuGraphExecDestroy", unsafe { result::graph::exec_destroy(self.exec) });
    }
}
