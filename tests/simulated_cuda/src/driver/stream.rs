//! Streams.

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use cudarc::driver::sys::{CUevent, CUresult, CUstream, CUstreamCaptureStatus};

use super::context::{current, not_capturing, releasing};
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

fn create(stream: *mut CUstream, flags: c_uint) -> Result<(), CUresult> {
    let mut state = current()?;
    if flags > 1 || stream.is_null() {
        return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    let handle =
        state.streams.insert(Stream { ordinal: 0, blocking: flags == 0, queue: VecDeque::new(), capture: None });
    let ordinal = state.streams.ordinal(handle);
    if let Some(stream) = state.streams.get_mut(handle) {
        stream.ordinal = ordinal;
    }
    answer(stream, handle as CUstream)
}

exported! {
    fn cuStreamCreate(stream: *mut CUstream, flags: c_uint) -> CUresult {
        create(stream, flags)
    }

    fn cuStreamCreateWithPriority(stream: *mut CUstream, flags: c_uint, _priority: c_int) -> CUresult {
        create(stream, flags)
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

    fn cuStreamQuery(stream: CUstream) -> CUresult {
        let mut state = not_capturing("cuStreamQuery")?;
        state.checked_stream(stream as u64, "cuStreamQuery")?;
        let last = state.last_number();
        if state.is_idle(stream as u64, last) {
            return Ok(());
        }
        // Whoever polls needs what is queued, sooner or later.
        let token = device::Token::new(stream as u64);
        state.push(stream as u64, Step::Record(token.clone()));
        state.ask_for(&token);
        Err(CUresult::CUDA_ERROR_NOT_READY)
    }

    fn cuStreamIsCapturing(stream: CUstream, status: *mut CUstreamCaptureStatus) -> CUresult {
        let mut state = current()?;
        let capture = state.checked_stream(stream as u64, "cuStreamIsCapturing")?.capture;
        let valid = capture.and_then(|capture| state.captures.get(capture)).map(|capture| capture.valid);
        answer(status, match valid {
            None => CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE,
            Some(true) => CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE,
            Some(false) => CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_INVALIDATED,
        })
    }

    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint) -> CUresult {
        let (stream, event) = (stream as u64, event as u64);
        let mut state = current()?;
        let ordinal = state.checked_stream(stream, "cuStreamWaitEvent")?.ordinal;
        state.checked_event(event, "cuStreamWaitEvent")?;
        if flags != 0 {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("cuStreamWaitEvent with flags {flags}"));
        }
        let wait = (ordinal, state.events.ordinal(event));
        *state.observed.waits.entry(wait).or_default() += 1;
        if state.settings.mutations.contains(&Mutation::SkipWait { stream: wait.0, event: wait.1 }) {
            return Ok(());
        }
        state.wait_event(stream, event)
    }
}
