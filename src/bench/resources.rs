//! What the process has used, as its system tells it.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// The time that the processors have worked for this process, for threads that have ended too, in seconds.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The most memory that the process has had at once, shards in the page cache that it has mapped included.
pub fn peak_resident_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// The memory that the process has now and that is no file's: heap, stacks and buffers.
pub fn anonymous_bytes() -> Option<u64> {
    status_bytes("RssAnon:")
}

fn status_bytes(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
