//! What the CPU backend allocates: all of it when it is made, and as much as it says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::{Backend, BackendOptions, Pass, Slot, StepScalars};
use alexnet::input::{Batch, Dtype};
use alexnet::model::Network;
use alexnet::recipe::settings::{ModelSettings, UpdateRule};

/// The system's allocator, counted.
struct Counted;

static NUM_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static NUM_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NUM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        NUM_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        NUM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        NUM_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NUM_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from this allocator, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const BATCH_SIZE: usize = 8;

/// Test threads count each other's allocations, so there is one test in this file.
#[test]
fn a_step_allocates_nothing_and_the_backend_states_its_memory() {
    let settings = ModelSettings { width: 0.25, ..ModelSettings::default() };
    let network = Network::new(&settings, 99, 10).unwrap();
    let options = BackendOptions { batch_size: BATCH_SIZE, seed: 0, update: UpdateRule::PAPER, label_smoothing: 0.0 };
    let before = NUM_BYTES.load(Ordering::Relaxed);
    let mut backend = CpuBackend::new(&network, options, None);
    let allocated = NUM_BYTES.load(Ordering::Relaxed) - before;
    let stated = backend.device().memory_bytes as usize;
    // Beside the buffers: names, tables of eight layers, the threads' queues.
    assert!((stated..stated + (1 << 20)).contains(&allocated), "{stated} bytes stated, {allocated} allocated");

    let mut batch = Batch::zeros(Dtype::F32, BATCH_SIZE, network.input_values());
    batch.num_valid = BATCH_SIZE;
    for pass in [Pass::Train, Pass::Eval] {
        batch = run(&mut backend, pass, batch);
        let before = NUM_ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..60 {
            batch = run(&mut backend, pass, batch);
        }
        let num_allocations = NUM_ALLOCATIONS.load(Ordering::Relaxed) - before;
        // The pool's queue grows by a block for every 63 steps that are handed to it; a step itself allocates nothing.
        assert!(num_allocations <= 2, "{num_allocations} allocations in 60 steps of {pass:?}");
    }
}

fn run(backend: &mut CpuBackend, pass: Pass, batch: Batch) -> Batch {
    backend.upload(Slot::Even, batch).unwrap();
    let scalars = StepScalars { step: 0, learning_rate: 0.01 };
    backend.run(Slot::Even, pass, scalars).unwrap();
    backend.statistics(Slot::Even).unwrap();
    backend.reclaim(Slot::Even).unwrap().expect("the batch that was uploaded")
}
