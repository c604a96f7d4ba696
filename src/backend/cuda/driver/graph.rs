//! Graphs: work that was recorded once and is launched again with one call.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{
    self, CUfunction_attribute_enum as CUfunction_attribute, CUgraphInstantiate_flags, CUgraphNodeType,
    CUstreamCaptureMode,
};
use serde::{Deserialize, Serialize};

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
    /// What it was made of, to be asked.
    recorded: Recorded,
    _context: Arc<Context>,
}

#[derive(Debug)]
struct Recorded(sys::CUgraph);

/// A kernel of recorded work, as the driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphKernel {
    /// As it was compiled: for C++ with its types.
    pub name: String,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Of each thread.
    pub num_registers: i32,
    /// Bytes of each thread that did not fit into registers, and its arrays.
    pub local_bytes: i32,
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
        let recorded = check("cuStreamEndCapture", unsafe { result::stream::end_capture(self.stream.raw()) })?;
        let recorded = Recorded(recorded);
        self.is_open = false;
        // Without this flag all nodes would run with the priority of the stream that the graph is launched on.
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
        // SAFETY: the graph was just made.
        let exec = check("cuGraphInstantiate", unsafe { result::graph::instantiate(recorded.0, flags) })?;
        Ok(Graph { exec, recorded, _context: Arc::clone(self.stream.context()) })
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

    /// Its kernels in the order in which they were recorded, the libraries' too; and how many of its pieces are none.
    pub fn kernels(&self) -> Result<(Vec<GraphKernel>, usize)> {
        let nodes = self.recorded.nodes()?;
        let kernels = nodes.iter().map(|node| kernel(*node)).collect::<Result<Vec<_>>>()?;
        let kernels: Vec<GraphKernel> = kernels.into_iter().flatten().collect();
        let num_others = nodes.len() - kernels.len();
        Ok((kernels, num_others))
    }
}

impl Recorded {
    fn nodes(&self) -> Result<Vec<sys::CUgraphNode>> {
        let mut count = 0;
        // SAFETY: without a place for nodes only their number is written.
        let counted = unsafe { sys::cuGraphGetNodes(self.0, ptr::null_mut(), &raw mut count) };
        check("cuGraphGetNodes", counted.result())?;
        let mut nodes = vec![ptr::null_mut(); count];
        // SAFETY: there is room for as many as are said.
        check("cuGraphGetNodes", unsafe { sys::cuGraphGetNodes(self.0, nodes.as_mut_ptr(), &raw mut count) }.result())?;
        nodes.truncate(count);
        Ok(nodes)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: made by `Capture::finish`; what was instantiated does not need it.
        released("cuGraphDestroy", unsafe { result::graph::destroy(self.0) });
    }
}

/// A node of a graph that lives, if it is a kernel.
fn kernel(node: sys::CUgraphNode) -> Result<Option<GraphKernel>> {
    let mut kind = CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
    // SAFETY: the node lives, and the pointer outlives the call.
    check("cuGraphNodeGetType", unsafe { sys::cuGraphNodeGetType(node, &raw mut kind) }.result())?;
    if kind != CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL {
        return Ok(None);
    }
    let mut parameters = MaybeUninit::<sys::CUDA_KERNEL_NODE_PARAMS>::zeroed();
    // SAFETY: the node is a kernel, and the pointer outlives the call.
    let asked = unsafe { sys::cuGraphKernelNodeGetParams_v2(node, parameters.as_mut_ptr()) };
    check("cuGraphKernelNodeGetParams", asked.result())?;
    // SAFETY: the driver has written it.
    let parameters = unsafe { parameters.assume_init() };
    let mut function = parameters.func;
    if function.is_null() {
        // It was launched as a kernel of a library.
        // SAFETY: one of both is there, and the pointer outlives the call.
        let asked = unsafe { sys::cuKernelGetFunction(&raw mut function, parameters.kern) };
        check("cuKernelGetFunction", asked.result())?;
    }
    let mut name = ptr::null();
    // SAFETY: the function is loaded as long as the graph may be launched.
    check("cuFuncGetName", unsafe { sys::cuFuncGetName(&raw mut name, function) }.result())?;
    // SAFETY: a C string of the module that the function is of.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: as above.
        let asked = unsafe { sys::cuFuncGetAttribute(&raw mut value, which, function) };
        check("cuFuncGetAttribute", asked.result()).map(|()| value)
    };
    Ok(Some(GraphKernel {
        name,
        grid: [parameters.gridDimX, parameters.gridDimY, parameters.gridDimZ],
        block: [parameters.blockDimX, parameters.blockDimY, parameters.blockDimZ],
        shared_bytes: parameters.sharedMemBytes,
        num_registers: attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
        local_bytes: attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
    }))
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `Capture::finish`; the driver waits for launches under way.
        released("cuGraphExecDestroy", unsafe { result::graph::exec_destroy(self.exec) });
    }
}
