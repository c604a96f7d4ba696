//! Events. A wait is for the record made before the wait; an event without a record is done.

use std::ffi::c_uint;
use std::sync::Arc;

use cudarc::driver::sys::{CUevent, CUresult, CUstream};

use super::context::{current, releasing};
use super::result::answer;
use crate::device::{self, Demand, Guard, State, Step, Token};
use crate::observed::Mutation;

/// Queries of one record after which it runs though the host does not wait: who polls must come to an end.
const PATIENCE: u32 = 3;

/// The last record of an event.
#[derive(Clone)]
pub enum Recorded {
    Never,
    Run(Arc<Token>),
    /// In this capture, after these nodes.
    Captured(u64, Vec<usize>),
}

/// An event.
pub struct Event {
    timed: bool,
    recorded: Recorded,
    queries: u32,
}

impl State {
    /// The event behind a handle.
    pub fn checked_event(&mut self, event: u64, call: &str) -> Result<&mut Event, CUresult> {
        if self.events.get(event).is_none() {
            return self
                .refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, format!("{call} of {event:#x}, which is no event"));
        }
        self.events.get_mut(event).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }

    /// Makes a stream wait for an event's last record, or captures that.
    pub fn wait_event(&mut self, stream: u64, event: u64) -> Result<(), CUresult> {
        let recorded = self.checked_event(event, "cuStreamWaitEvent")?.recorded.clone();
        let capturing = self.checked_stream(stream, "cuStreamWaitEvent")?.capture;
        match (recorded, capturing) {
            (Recorded::Never, _) => Ok(()),
            (Recorded::Run(token), None) => {
                self.push(stream, Step::Wait(token));
                Ok(())
            }
            (Recorded::Run(_), Some(_)) => {
                self.invalidate_capture_of(stream);
                self.refuse(
                    CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                    "a capturing stream waits for an event recorded outside of the capture",
                )
            }
            (Recorded::Captured(capture, after), _) => self.capture_wait(capture, stream, &after),
        }
    }

    fn record(&mut self, event: u64, stream: u64) -> Result<(), CUresult> {
        let ordinal = self.events.ordinal(event);
        let early = self.settings.mutations.contains(&Mutation::EarlyRecord { event: ordinal });
        let capture = self.checked_stream(stream, "cuEventRecord")?.capture;
        *self.observed.records.entry((ordinal, self.streams.ordinal(stream))).or_default() += 1;
        let recorded = match capture {
            Some(capture) => Recorded::Captured(capture, self.captured_tail(capture, stream, early)?),
            None => {
                let token = Token::new(stream);
                match early {
                    true => self.push_early(stream, token.clone()),
                    false => self.push(stream, Step::Record(token.clone())),
                }
                Recorded::Run(token)
            }
        };
        let event = self.checked_event(event, "cuEventRecord")?;
        event.recorded = recorded;
        event.queries = 0;
        Ok(())
    }
}

/// The record that a sync or a query is about; none if it is done, by nature or by mutation.
fn to_sync(event: CUevent, call: &'static str) -> Result<(Guard, Option<Arc<Token>>), CUresult> {
    let event = event as u64;
    let mut state = super::context::not_capturing(call)?;
    let recorded = state.checked_event(event, call)?.recorded.clone();
    let ordinal = state.events.ordinal(event);
    *state.observed.syncs.entry(ordinal).or_default() += 1;
    let early = state.settings.mutations.contains(&Mutation::EarlySync { event: ordinal });
    match recorded {
        Recorded::Captured(..) => {
            state.refuse(CUresult::CUDA_ERROR_CAPTURED_EVENT, format!("{call} of an event recorded in a capture"))
        }
        Recorded::Run(token) if !early => Ok((state, Some(token))),
        _ => Ok((state, None)),
    }
}

exported! {
    fn cuEventCreate(event: *mut CUevent, flags: c_uint) -> CUresult {
        let mut state = current()?;
        if flags > 3 || event.is_null() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("cuEventCreate with flags {flags}"));
        }
        let handle = state.events.insert(Event { timed: flags & 2 == 0, recorded: Recorded::Never, queries: 0 });
        answer(event, handle as CUevent)
    }

    fn cuEventRecord(event: CUevent, stream: CUstream) -> CUresult {
        let mut state = current()?;
        state.checked_event(event as u64, "cuEventRecord")?;
        state.record(event as u64, stream as u64)
    }

    fn cuEventQuery(event: CUevent) -> CUresult {
        let (mut state, token) = to_sync(event, "cuEventQuery")?;
        let Some(token) = token.filter(|token| !token.is_done()) else { return Ok(()) };
        let queried = state.checked_event(event as u64, "cuEventQuery")?;
        queried.queries += 1;
        if queried.queries == PATIENCE {
            state.ask_for(&token);
        }
        Err(CUresult::CUDA_ERROR_NOT_READY)
    }

    fn cuEventSynchronize(event: CUevent) -> CUresult {
        let (state, token) = to_sync(event, "cuEventSynchronize")?;
        if let Some(token) = token {
            drop(device::wait(state, Demand::Record(token))?);
        }
        Ok(())
    }

    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: CUevent, end: CUevent) -> CUresult {
        let mut state = current()?;
        let mut reached = |event: CUevent| {
            let event = state.checked_event(event as u64, "cuEventElapsedTime")?;
            match &event.recorded {
                Recorded::Run(token) if event.timed => token.at().ok_or(CUresult::CUDA_ERROR_NOT_READY),
                _ => state.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuEventElapsedTime of an event that is not timed or was not recorded"),
            }
        };
        let (start, end) = (reached(start)?, reached(end)?);
        let seconds = match end.checked_duration_since(start) {
            Some(after) => after.as_secs_f32(),
            None => -start.duration_since(end).as_secs_f32(),
        };
        answer(milliseconds, seconds * 1000.0)
    }

    fn cuEventDestroy_v2(event: CUevent) -> CUresult {
        let mut state = releasing()?;
        state.checked_event(event as u64, "cuEventDestroy_v2")?;
        state.events.remove(event as u64);
        state.sound()
    }
}
