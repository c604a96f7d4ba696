//! Streams.

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use cudarc::driver::sys::{CUevent, CUresult, CUstream};

use super::context::{current, releasing};
use super::result::answer;
use crate::device::{self, Demand, State, Step, Stream, Work};
use crate::observed::Mutation;

impl State {
    /// The stream behind a handle; the default streams are refused, since nothing here should be ordered by them.
    pub fn checked_stream(&mut self, stream: u64, call: &str) -> Result<&mut Stream, CUresult> {
        if self.streams.get(stream).is_none() {
            return self.refuse(
                CUresult::CUDA_ERROR_INVALID_HANDLE,
                format!("{call} on {stream:#x}, which is no stream (default streams are refused)"),
            );
        }
        self.streams.get_mut(stream).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }

    /// Enqueues work, or captures it.
    pub fn submit(&mut self, stream: u64, work: Work) -> Result<(), CUresult> {
        self.sound()?;
        let name = work.name;
        match self.checked_stream(stream, name)?.capture {
            None => self.push(stream, Step::Work(Arc::new(work))),
            Some(capture) => self.capture_work(capture, stream, work)?,
        }
        Ok(())
    }
}

exported! {
    fn cuStreamCreateWithPriority(stream: *mut CUstream, flags: c_uint, priority: c_int) -> CUresult {
        let mut state = current()?;
        if flags != 1 || stream.is_null() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, "a stream that waits for the default stream, which nothing here uses");
        }
        let handle = state.streams.insert(Stream { queue: VecDeque::new(), capture: None, priority });
        answer(stream, handle as CUstream)
    }

    fn cuStreamDestroy_v2(stream: CUstream) -> CUresult {
        let handle = stream as u64;
        let mut state = releasing()?;
        if state.checked_stream(handle, "cuStreamDestroy_v2")?.capture.is_some() {
            state.invalidate_capture_of(handle);
            state.violation("cuStreamDestroy_v2 of a stream that is capturing".to_owned());
        }
        // CUDA lets the work finish after the call; to wait for it here is one of the allowed times.
        let last = state.last_number();
        if state.broken.is_none() {
            state = device::wait(state, Demand::Streams(vec![handle], last))?;
        }
        state.streams.remove(handle);
        state.sound()
    }

    fn cuStreamSynchronize(stream: CUstream) -> CUresult {
        let mut state = current()?;
        if state.checked_stream(stream as u64, "cuStreamSynchronize")?.capture.is_some() {
            state.invalidate_capture_of(stream as u64);
            return state.refuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuStreamSynchronize of a stream that is capturing");
        }
        let last = state.last_number();
        device::wait(state, Demand::Streams(vec![stream as u64], last)).map(drop)
    }

    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint) -> CUresult {
        let (stream, event) = (stream as u64, event as u64);
        let mut state = current()?;
        state.checked_stream(stream, "cuStreamWaitEvent")?;
        state.checked_event(event, "cuStreamWaitEvent")?;
        if flags != 0 {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("cuStreamWaitEvent with flags {flags}"));
        }
        let wait = (state.streams.ordinal(stream), state.events.ordinal(event));
        *state.observed.waits.entry(wait).or_default() += 1;
        if state.settings.mutations.contains(&Mutation::SkipWait { stream: wait.0, event: wait.1 }) {
            return Ok(());
        }
        state.wait_event(stream, event)
    }
}
