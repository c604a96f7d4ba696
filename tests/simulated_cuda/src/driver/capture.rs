//! Capture into graphs, and their replay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::ThreadId;

use cudarc::driver::sys::{
    CUDA_KERNEL_NODE_PARAMS, CUfunction, CUgraph, CUgraphExec, CUgraphNode, CUgraphNodeType, CUresult, CUstream,
    CUstreamCaptureMode,
};

use super::context::{current, releasing};
use super::result::answer;
use crate::device::{Launched, State, Step, Work};
use crate::schedule::Schedule;

/// CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY.
const USE_NODE_PRIORITY: u64 = 8;

/// A captured operation; it runs after those with the numbers in `after`.
struct Node {
    work: Work,
    stream: u32,
    priority: i32,
    after: Vec<usize>,
}

/// Where a stream stands in a capture.
#[derive(Clone, Default)]
struct Tail {
    /// What its next operation comes after.
    after: Vec<usize>,
    /// The same before its last operation.
    before_last: Vec<usize>,
}

/// A capture in progress.
pub struct Capture {
    origin: u64,
    thread: ThreadId,
    pub valid: bool,
    nodes: Vec<Node>,
    tails: BTreeMap<u64, Tail>,
}

/// What a capture gave, and what is launched.
pub struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    /// Its operations.
    pub fn nodes(&self) -> impl Iterator<Item = &Work> {
        self.nodes.iter().map(|node| &node.work)
    }

    /// Runs all nodes, each after those it depends on; else in the schedule's order, with what it delays as late as it
    /// may be.
    pub fn run(&self, schedule: &Schedule, number: u64) -> Result<(), String> {
        let mut done = vec![false; self.nodes.len()];
        for round in 0..self.nodes.len() {
            let place = |index: usize| number.wrapping_mul(4096).wrapping_add(index as u64);
            let is_ready = |index: &usize| !done[*index] && self.nodes[*index].after.iter().all(|before| done[*before]);
            let ready: Vec<usize> = (0..self.nodes.len()).filter(is_ready).collect();
            let is_prompt = |index: &usize| {
                let node = &self.nodes[*index];
                !schedule.delays(node.work.class, node.stream, place(*index))
            };
            let prompt: Vec<usize> = ready.iter().copied().filter(is_prompt).collect();
            let candidates = if prompt.is_empty() { ready } else { prompt };
            let numbers: Vec<u64> = candidates.iter().map(|index| place(*index)).collect();
            let chosen = candidates[schedule.choose(&numbers, place(round))];
            let work = &self.nodes[chosen].work;
            (work.job)(schedule.thread_order(place(chosen)))
                .map_err(|message| format!("{} in a graph: {message}", work.name))?;
            done[chosen] = true;
        }
        Ok(())
    }
}

impl Capture {
    /// All nodes that the given ones come after, with themselves.
    fn ancestors(&self, after: &[usize]) -> Vec<bool> {
        let mut found = vec![false; self.nodes.len()];
        let mut open = after.to_vec();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut found[node], true) {
                open.extend(&self.nodes[node].after);
            }
        }
        found
    }
}

/// A graph's handle and a node's number in one.
fn node_handle(graph: u64, index: usize) -> u64 {
    graph << NODE_BITS | index as u64
}

/// More nodes than a step has.
const NODE_BITS: u32 = 12;

impl State {
    /// As what a node was launched, if it is a kernel.
    fn launched(&mut self, node: CUgraphNode) -> Result<Option<Launched>, CUresult> {
        let (graph, index) = (node as u64 >> NODE_BITS, node as usize & ((1 << NODE_BITS) - 1));
        match self.graphs.get(graph).and_then(|graph| graph.nodes.get(index)) {
            Some(node) => Ok(node.work.launched),
            None => self.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "a question about what is no node of a graph"),
        }
    }

    pub fn is_capturing(&self, stream: u64) -> bool {
        self.streams.get(stream).is_some_and(|stream| stream.capture.is_some())
    }

    /// Ends the validity of the capture that a stream takes part in.
    pub fn invalidate_capture_of(&mut self, stream: u64) {
        let capture = self.streams.get(stream).and_then(|stream| stream.capture);
        if let Some(capture) = capture.and_then(|capture| self.captures.get_mut(capture)) {
            capture.valid = false;
        }
    }

    /// Ends the validity of all captures that this thread began; whether there are any.
    pub fn invalidate_own_captures(&mut self) -> bool {
        let own = |capture: &&mut Capture| capture.thread == std::thread::current().id();
        self.captures.values_mut().filter(own).map(|capture| capture.valid = false).count() > 0
    }

    /// Whether this thread captures.
    pub fn captures_here(&self) -> bool {
        self.captures.iter().any(|(_, capture)| capture.thread == std::thread::current().id())
    }

    fn valid_capture(&mut self, capture: u64) -> Result<&mut Capture, CUresult> {
        self.captures
            .get_mut(capture)
            .filter(|capture| capture.valid)
            .ok_or(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    }

    /// Captures work at the end of a stream.
    pub fn capture_work(&mut self, capture: u64, stream: u64, work: Work) -> Result<(), CUresult> {
        let ordinal = self.streams.ordinal(stream);
        let priority = self.checked_stream(stream, work.name)?.priority;
        let capture = self.valid_capture(capture)?;
        let tail = capture.tails.entry(stream).or_default();
        let node = capture.nodes.len();
        capture.nodes.push(Node { work, stream: ordinal, priority, after: tail.after.clone() });
        tail.before_last = std::mem::replace(&mut tail.after, vec![node]);
        Ok(())
    }

    /// The nodes that an event recorded now on a stream stands for.
    pub fn captured_tail(&mut self, capture: u64, stream: u64, early: bool) -> Result<Vec<usize>, CUresult> {
        let tail = self.valid_capture(capture)?.tails.entry(stream).or_default();
        Ok(if early { tail.before_last.clone() } else { tail.after.clone() })
    }

    /// Captures a wait; a stream that did not capture joins in.
    pub fn capture_wait(&mut self, capture: u64, stream: u64, after: &[usize]) -> Result<(), CUresult> {
        let own = self.streams.get(stream).and_then(|stream| stream.capture);
        if self.captures.get(capture).is_none() {
            self.invalidate_capture_of(stream);
            return self.refuse(
                CUresult::CUDA_ERROR_INVALID_VALUE,
                "cuStreamWaitEvent of an event recorded in a capture that has ended",
            );
        }
        if own.is_some_and(|own| own != capture) {
            self.invalidate_capture_of(stream);
            return self.refuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE, "cuStreamWaitEvent between two captures");
        }
        let tail = self.valid_capture(capture)?.tails.entry(stream).or_default();
        tail.after.extend(after);
        tail.after.sort_unstable();
        tail.after.dedup();
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.capture = Some(capture);
        }
        Ok(())
    }

    /// Ends a capture: its nodes, if every fork was joined.
    fn end_capture(&mut self, stream: u64) -> Result<Vec<Node>, CUresult> {
        let Some(handle) = self.checked_stream(stream, "cuStreamEndCapture")?.capture else {
            return self
                .refuse(CUresult::CUDA_ERROR_ILLEGAL_STATE, "cuStreamEndCapture of a stream that does not capture");
        };
        let begun_here = |capture: &Capture| capture.origin == stream && capture.thread == std::thread::current().id();
        if !self.captures.get(handle).is_some_and(begun_here) {
            return self.refuse(
                CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
                "cuStreamEndCapture of a stream, or by a thread, that did not begin the capture",
            );
        }
        for stream in self.streams.values_mut().filter(|stream| stream.capture == Some(handle)) {
            stream.capture = None;
        }
        let capture = self.captures.remove(handle).ok_or(CUresult::CUDA_ERROR_ILLEGAL_STATE)?;
        if !capture.valid {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        let joined = capture.ancestors(&capture.tails.get(&stream).cloned().unwrap_or_default().after);
        if capture.tails.values().any(|tail| tail.after.iter().any(|node| !joined[*node])) {
            return self.refuse(
                CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
                "cuStreamEndCapture with a forked stream that was not joined",
            );
        }
        Ok(capture.nodes)
    }
}

exported! {
    fn cuStreamBeginCapture_v2(stream: CUstream, mode: CUstreamCaptureMode) -> CUresult {
        let mut state = current()?;
        if state.checked_stream(stream as u64, "cuStreamBeginCapture_v2")?.capture.is_some() {
            return state.refuse(CUresult::CUDA_ERROR_ILLEGAL_STATE, "cuStreamBeginCapture_v2 of a stream that captures already");
        }
        if mode != CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL {
            return state.refuse(CUresult::CUDA_ERROR_NOT_SUPPORTED, format!("capture in {mode:?}: only the thread-local mode is simulated"));
        }
        let handle = state.captures.insert(Capture {
            origin: stream as u64,
            thread: std::thread::current().id(),
            valid: true,
            nodes: Vec::new(),
            tails: BTreeMap::from([(stream as u64, Tail::default())]),
        });
        state.checked_stream(stream as u64, "cuStreamBeginCapture_v2")?.capture = Some(handle);
        Ok(())
    }

    fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph) -> CUresult {
        let mut state = current()?;
        answer(graph, std::ptr::null_mut())?;
        let nodes = state.end_capture(stream as u64)?;
        let handle = state.graphs.insert(Arc::new(Graph { nodes }));
        answer(graph, handle as CUgraph)
    }

    fn cuGraphInstantiateWithFlags(executable: *mut CUgraphExec, graph: CUgraph, flags: u64) -> CUresult {
        let mut state = current()?;
        if flags & !USE_NODE_PRIORITY != 0 {
            return state.refuse(CUresult::CUDA_ERROR_NOT_SUPPORTED, format!("cuGraphInstantiateWithFlags with flags {flags}"));
        }
        let Some(graph) = state.graphs.get(graph as u64).cloned() else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuGraphInstantiateWithFlags of what is no graph");
        };
        // Without the flag all nodes have the priority of the stream that the graph is launched on.
        if flags & USE_NODE_PRIORITY != 0 {
            state.observed.graph_priorities.extend(graph.nodes.iter().map(|node| node.priority));
        }
        let handle = state.executables.insert(graph);
        answer(executable, handle as CUgraphExec)
    }

    /// Without a place for them, how many there are.
    fn cuGraphGetNodes(graph: CUgraph, nodes: *mut CUgraphNode, count: *mut usize) -> CUresult {
        let mut state = current()?;
        let Some(known) = state.graphs.get(graph as u64).cloned() else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuGraphGetNodes of what is no graph");
        };
        if nodes.is_null() {
            return answer(count, known.nodes.len());
        }
        for index in 0..known.nodes.len().min(*count) {
            answer(nodes.add(index), node_handle(graph as u64, index) as CUgraphNode)?;
        }
        answer(count, known.nodes.len().min(*count))
    }

    /// What the libraries do is no kernel here.
    fn cuGraphNodeGetType(node: CUgraphNode, kind: *mut CUgraphNodeType) -> CUresult {
        let launched = current()?.launched(node)?;
        answer(kind, match launched {
            Some(_) => CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL,
            None => CUgraphNodeType::CU_GRAPH_NODE_TYPE_HOST,
        })
    }

    fn cuGraphKernelNodeGetParams_v2(node: CUgraphNode, parameters: *mut CUDA_KERNEL_NODE_PARAMS) -> CUresult {
        let mut state = current()?;
        let Some(Launched { function, grid, block, shared_bytes }) = state.launched(node)? else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuGraphKernelNodeGetParams_v2 of what is no kernel");
        };
        answer(parameters, CUDA_KERNEL_NODE_PARAMS {
            func: function as CUfunction,
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: shared_bytes,
            kernelParams: std::ptr::null_mut(),
            extra: std::ptr::null_mut(),
            kern: std::ptr::null_mut(),
            ctx: std::ptr::null_mut(),
        })
    }

    fn cuGraphLaunch(executable: CUgraphExec, stream: CUstream) -> CUresult {
        let mut state = current()?;
        let Some(executable) = state.executables.get(executable as u64).cloned() else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuGraphLaunch of what is no instantiated graph");
        };
        if state.checked_stream(stream as u64, "cuGraphLaunch")?.capture.is_some() {
            state.invalidate_capture_of(stream as u64);
            return state.refuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuGraphLaunch in a capture: child graphs are not simulated");
        }
        let freed = executable.nodes().find(|work| work.blocks.iter().any(|block| !state.memory.blocks.contains_key(block)));
        if let Some(name) = freed.map(|work| work.name) {
            state.violation(format!("cuGraphLaunch of a graph whose {name} uses memory that was freed"));
            state.break_down(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
            return Err(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        }
        state.push(stream as u64, Step::Graph(executable));
        Ok(())
    }

    fn cuGraphExecDestroy(executable: CUgraphExec) -> CUresult {
        let mut state = releasing()?;
        match state.executables.remove(executable as u64) {
            None => state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuGraphExecDestroy of what is no instantiated graph"),
            Some(_) => state.sound(),
        }
    }

    fn cuGraphDestroy(graph: CUgraph) -> CUresult {
        let mut state = releasing()?;
        match state.graphs.remove(graph as u64) {
            None => state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "cuGraphDestroy of what is no graph"),
            Some(_) => state.sound(),
        }
    }
}
