//! What a step of the CPU backend allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::step::step;
use alexnet::backend::{Backend, BackendOptions, Pass, Slot, StepScalars};
use alexnet::input::{Batch, Dtype};
use alexnet::model::Network;
use alexnet::recipe::settings::ModelSettings;

/// The system's allocator, counted.
struct Counted;

static NUM_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NUM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[test]
fn a_step_allocates_nothing() {
    let settings = ModelSettings { width: 0.05, ..ModelSettings::default() };
    let network = Network::new(&settings, 99, 10).unwrap();
    let options = BackendOptions { batch_size: 8, seed: 0, momentum: 0.9, weight_decay: 0.0005 };
    let mut backend = CpuBackend::new(&network, options, None);
    let mut batch = Batch::zeros(Dtype::F32, 8, network.input_values());
    batch.num_valid = 8;
    let mut run = |batch: Batch, pass: Pass| {
        backend.upload(Slot::Even, batch).unwrap();
        let scalars = StepScalars { step: 0, learning_rate: 0.01 };
        backend.replay(Slot::Even, pass, scalars, step::<CpuBackend>).unwrap();
        backend.statistics(Slot::Even).unwrap();
        backend.reclaim(Slot::Even).unwrap().expect("the batch that was uploaded")
    };
    for pass in [Pass::Train, Pass::Eval] {
        batch = run(batch, pass);
        let before = NUM_ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..100 {
            batch = run(batch, pass);
        }
        let num_allocations = NUM_ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!("{pass:?}: {num_allocations} allocations in 100 steps");
    }
}
