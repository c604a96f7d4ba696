//! Writes spans as events of Chrome's trace format: "X" is a span, "M" the name of a row.

use std::io::{self, Write};
use std::time::Instant;

use super::{Span, Track};

/// All rows belong to one process.
const PROCESS: u32 = 1;

impl Track {
    /// The row's number, which is also its position from the top.
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

/// Writes the name and the position of a row.
pub(super) fn write_track(out: &mut impl Write, track: Track) -> io::Result<()> {
    let (id, name) = (track.id(), track.name());
    write!(out, r#"{{"ph":"M","pid":{PROCESS},"tid":{id},"name":"thread_name","args":{{"name":"{name}"}}}}"#)?;
    write!(out, ",\n{{\"ph\":\"M\",\"pid\":{PROCESS},\"tid\":{id},\"name\":\"thread_sort_index\",")?;
    write!(out, r#""args":{{"sort_index":{id}}}}}"#)
}

/// Times are microseconds since `origin`; a span that began earlier begins at 0.
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
