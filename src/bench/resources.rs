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

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::{anonymous_bytes, cpu_seconds, peak_resident_bytes};

    #[test]
    fn the_work_of_a_thread_that_has_ended_counts() {
        let before = cpu_seconds();
        let work = || (0..200_000_000_u64).fold(0_u64, |sum, number| black_box(sum ^ number));
        let thread = std::thread::spawn(move || {
            let begun = cpu_seconds();
            black_box(work());
            cpu_seconds() - begun
        });
        let counted = thread.join().unwrap();
        assert!(counted > 0.0 && cpu_seconds() - before >= counted, "{counted} s in the thread");
    }

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
