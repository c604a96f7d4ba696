//! What the process has used, as Linux tells it.

use std::fs;

/// The time that the processors have worked for the threads that this process has now, in seconds.
pub fn cpu_seconds() -> Option<f64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let nanos = threads.filter_map(|thread| {
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse::<u64>().ok()
    });
    Some(nanos.sum::<u64>() as f64 * 1e-9)
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

#[cfg(test)]
mod tests {
    use super::{anonymous_bytes, peak_resident_bytes};

    #[test]
    fn written_memory_is_anonymous_and_counts_for_the_peak() {
        const NUM_BYTES: usize = 256 << 20;
        let before = anonymous_bytes().unwrap();
        let held = vec![1_u8; NUM_BYTES];
        let (now, peak) = (anonymous_bytes().unwrap(), peak_resident_bytes().unwrap());
        // Other tests of this process give back less than half as much meanwhile.
        assert!(now >= before + NUM_BYTES as u64 / 2, "{before} before, {now} with {} more", held.len());
        assert!(peak >= now, "a peak of {peak} under the {now} of now");
    }
}
