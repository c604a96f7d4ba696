//! Streams: what is enqueued in one runs in order, and beside what other streams do.

use std::ffi::c_void;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUevent_wait_flags, CUstream_flags};

use super::{Context, Event, Function, Slice, SliceMut, check, released};
use crate::error::Result;

/// Whose blocks run first where two streams have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    First,
    Second,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// Blocks in x, y and z.
    pub grid: (u32, u32, u32),
    /// Threads of a block in x, y and z.
    pub block: (u32, u32, u32),
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

/// A queue of work on the device.
#[derive(Debug)]
pub struct Stream {
    raw: sys::CUstream,
    context: Arc<Context>,
}

impl Stream {
    /// A queue that does not wait for the default stream.
    pub fn new(context: &Arc<Context>, priority: Priority) -> Result<Self> {
        let (mut raw, flags) = (std::ptr::null_mut(), CUstream_flags::CU_STREAM_NON_BLOCKING as u32);
        let priority = match priority {
            // Lower numbers come first; the driver takes what is out of range for its highest.
            Priority::First => -2,
            Priority::Second => -1,
            Priority::Last => 0,
        };
        // SAFETY: the pointer outlives the call, and `Drop` destroys what it makes.
        check("cuStreamCreate", unsafe { sys::cuStreamCreateWithPriority(&raw mut raw, flags, priority) }.result())?;
        Ok(Self { raw, context: Arc::clone(context) })
    }

    /// The GPU that it belongs to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Waits for all that was enqueued, before what it uses is freed: a failure is reported, and nothing is to be done
    /// about it.
    pub fn finish(&self) {
        // SAFETY: the stream lives as long as `self`.
        released("cuStreamSynchronize", unsafe { result::stream::synchronize(self.raw) });
    }

    /// What is enqueued from now on waits for the event's last record.
    pub fn wait(&self, event: &Event) -> Result<()> {
        // SAFETY: both live; the driver keeps what an enqueued wait needs.
        let waited =
            unsafe { result::stream::wait_event(self.raw, event.raw(), CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) };
        check("cuStreamWaitEvent", waited)
    }

    /// Marks what was enqueued until now.
    pub fn record(&self, event: &Event) -> Result<()> {
        // SAFETY: both live.
        check("cuEventRecord", unsafe { result::event::record(event.raw(), self.raw) })
    }

    /// Enqueues a kernel.
    ///
    /// # Safety
    ///
    /// The parameters must be pointers to values of the kernel's parameter types, in its order; the device memory they
    /// name must be as long as the kernel reads and writes for this shape, and stay allocated until the kernel has run.
    pub unsafe fn launch(&self, function: &Function, shape: LaunchShape, parameters: &mut [*mut c_void]) -> Result<()> {
        let LaunchShape { grid, block, shared_bytes } = shape;
        // SAFETY: the function's module and the stream live; the rest is this function's contract.
        let launched =
            unsafe { result::launch_kernel(function.raw(), grid, block, shared_bytes, self.raw, parameters) };
        check(function.name(), launched)
    }

    /// Enqueues a copy to the device.
    ///
    /// # Safety
    ///
    /// `from` must be page-locked and stay as it is, and `to` allocated, until the copy has run.
    pub unsafe fn copy_to_device<T: Pod>(&self, from: &[T], to: &mut SliceMut<'_, T>) -> Result<()> {
        assert_eq!(from.len(), to.len(), "values to copy, and room for them");
        // SAFETY: the lengths are equal; the rest is this function's contract.
        check("cuMemcpyHtoDAsync", unsafe { result::memcpy_htod_async(to.address(), from, self.raw) })
    }

    /// Enqueues a copy within the device's memory.
    ///
    /// # Safety
    ///
    /// Both must stay allocated until the copy has run.
    pub unsafe fn copy_on_device<T: Pod>(&self, from: Slice<'_, T>, to: &mut SliceMut<'_, T>) -> Result<()> {
        assert_eq!(from.len(), to.len(), "values to copy, and room for them");
        let num_bytes = from.len() * size_of::<T>();
        // SAFETY: the lengths are equal; the rest is this function's contract.
        check("cuMemcpyDtoDAsync", unsafe {
            result::memcpy_dtod_async(to.address(), from.address(), num_bytes, self.raw)
        })
    }

    pub(in crate::backend::cuda) fn raw(&self) -> sys::CUstream {
        self.raw
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by `new`; the driver finishes what is enqueued before it frees it.
        released("cuStreamDestroy", unsafe { result::stream::destroy(self.raw) });
    }
}
