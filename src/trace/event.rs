//! A span as an event of Chrome's trace format: "X" for what was done, "M" for the name of a line.

use std::io::{self, Write};
use std::time::Instant;

use super::{Span, Track};

/// All lines belong to one process.
const PROCESS: u32 = 1;

impl Track {
    /// The line's number, which is also its place from the top.
    fn id(self) -> usize {
        match self {
            Self::Trainer => 1,
            Self::Device => 2,
            Self::Upload => 3,
            Self::Conveyor => 4,
            Self::Worker(index) => 5 + index,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Trainer => "trainer".into(),
            Self::Device => "device: steps".into(),
            Self::Upload => "device: uploads".into(),
            Self::Conveyor => "conveyor".into(),
            Self::Worker(index) => format!("input worker {index}"),
        }
    }
}

/// The name and the place of a line.
pub(super) fn write_track(out: &mut impl Write, track: Track) -> io::Result<()> {
    let (id, name) = (track.id(), track.name());
    write!(out, r#"{{"ph":"M","pid":{PROCESS},"tid":{id},"name":"thread_name","args":{{"name":"{name}"}}}}"#)?;
    write!(out, ",\n{{\"ph\":\"M\",\"pid\":{PROCESS},\"tid\":{id},\"name\":\"thread_sort_index\",")?;
    write!(out, r#""args":{{"sort_index":{id}}}}}"#)
}

/// Times are microseconds since `origin`; what began before it begins at it.
pub(super) fn write_span(out: &mut impl Write, span: &Span, origin: Instant) -> io::Result<()> {
    let micros = |moment: Instant| moment.saturating_duration_since(origin).as_nanos() as f64 / 1e3;
    let (begun, ended) = (micros(span.interval.begun), micros(span.interval.ended));
    write!(
        out,
        r#"{{"ph":"X","pid":{PROCESS},"tid":{},"name":"{}","ts":{begun:.3},"dur":{:.3},"args":{{"step":{}}}}}"#,
        span.track.id(),
        span.name,
        ended - begun,
        span.step
    )
}
