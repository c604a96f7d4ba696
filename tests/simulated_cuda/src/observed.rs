//! Which waits, records and syncs a run made, so that a test can leave each of them out in turn, and which kernels it
//! launched.

use std::collections::{BTreeMap, BTreeSet};

/// Counts by ordinals of streams and events.
#[derive(Default)]
pub struct Observed {
    /// cuStreamWaitEvent: (stream, event).
    pub waits: BTreeMap<(u32, u32), u64>,
    /// cuEventRecord: (event, stream).
    pub records: BTreeMap<(u32, u32), u64>,
    /// cuEventSynchronize and cuEventQuery: event.
    pub syncs: BTreeMap<u32, u64>,
    /// cuLaunchKernel: the kernel's name.
    pub kernels: BTreeMap<String, u64>,
    /// Priorities of the nodes of graphs that keep them.
    pub graph_priorities: BTreeSet<i32>,
}

/// A fault of the program under test, made for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    /// cuStreamWaitEvent of this stream and event does nothing.
    SkipWait { stream: u32, event: u32 },
    /// The event is recorded before the work last enqueued on its stream.
    EarlyRecord { event: u32 },
    /// cuEventSynchronize and cuEventQuery say that it is done.
    EarlySync { event: u32 },
    /// A kernel does nothing; the last number of a library's function is not written.
    Spoil { name: String },
}

impl Mutation {
    /// Reads `skip-wait:<stream>:<event>`, `early-record:<event>`, `early-sync:<event>` or `spoil:<name>`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let number = |index: usize| {
            parts[index].parse::<u32>().map_err(|_| format!("mutation {text:?}: {:?} is no ordinal", parts[index]))
        };
        match (parts[0], parts.len()) {
            ("skip-wait", 3) => Ok(Self::SkipWait { stream: number(1)?, event: number(2)? }),
            ("early-record", 2) => Ok(Self::EarlyRecord { event: number(1)? }),
            ("early-sync", 2) => Ok(Self::EarlySync { event: number(1)? }),
            ("spoil", 2) => Ok(Self::Spoil { name: parts[1].to_owned() }),
            _ => Err(format!(
                "mutation {text:?}: expected skip-wait:STREAM:EVENT, early-record:EVENT, early-sync:EVENT or spoil:NAME"
            )),
        }
    }
}
