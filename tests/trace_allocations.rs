//! Recording a span allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use alexnet::trace::{Interval, TraceFile, Tracer, Track};

thread_local! {
    static NUM_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts each thread's allocations.
struct Counted;

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = NUM_ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the conditions of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from this allocator, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[test]
fn recording_a_span_allocates_nothing_on_or_off() {
    let folder = tempfile::tempdir().unwrap();
    let trace = TraceFile::create(&folder.path().join("trace.json")).unwrap();
    for tracer in [trace.tracer(), Tracer::default()] {
        let now = Instant::now();
        let before = NUM_ALLOCATIONS.get();
        // More than fit the buffer, while another thread empties it.
        for step in 0..100_000 {
            tracer.span(Track::Worker(step as usize % 4), "fill", step, Interval { begun: now, ended: now });
        }
        assert_eq!(NUM_ALLOCATIONS.get(), before);
    }
}
