//! What the live page costs a run: no allocation a step, and memory that does not grow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use alexnet::backend::Statistics;
use alexnet::input::{Batch, Dtype, Frame, PipelineSnapshot};
use alexnet::train::live::{About, Live};
use alexnet::train::log::{Kind, Line};
use alexnet::train::metrics::{Pace, StepObservation};

thread_local! {
    static NUM_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static NUM_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts each thread's allocations, and the bytes that it holds.
struct Counted;

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = NUM_ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = NUM_BYTES.try_with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: the caller keeps the conditions of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = NUM_BYTES.try_with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        // SAFETY: the pointer came from this allocator, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// What docs/monitoring.md says that a run's history takes, at most.
const HISTORY_BYTES: usize = 256 << 10;
const STEPS_PER_EPOCH: u64 = 100;
const FRAME: Frame = Frame { crop: 16, canvas: 16, scale: 1.0 };

fn about() -> About {
    About {
        run: "run".into(),
        recipe: "small".into(),
        device: "cpu".into(),
        precision: "f32".into(),
        classes: vec!["cat".into(), "dog".into()],
        frame: FRAME,
        batch_size: 4,
        num_buffers: 6,
        first_step: 0,
        last_step: 1_000_000,
        steps_per_epoch: STEPS_PER_EPOCH,
    }
}

fn step(live: &Live, step: u64, batch: &Batch) {
    live.batch().offer(batch);
    let pace = Pace {
        images_per_second: 40.0,
        input_wait_share: 0.1,
        upload_share: 0.1,
        compute_share: 0.8,
        bottleneck: "compute",
    };
    let observation = StepObservation { num_images: 4, loss: 1.0 / step as f64, ..StepObservation::default() };
    let statistics = Statistics { loss_sum: 4.0, num_top1: 1, num_top5: 3, num_samples: 4 };
    live.step(step, &observation, &statistics, &PipelineSnapshot::default(), pace);
}

/// What a run tells once an epoch, and its warnings.
fn epoch(live: &Live, step: u64) {
    let epoch = (step / STEPS_PER_EPOCH) as u32;
    for kind in [Kind::Epoch, Kind::Validation] {
        let rates =
            Line { loss: Some(1.0), top1_error: Some(0.5), top5_error: Some(0.1), ..Line::new(kind, step, epoch) };
        live.line(&rates);
    }
    live.event(step, &"the learning rate was divided ".repeat(100));
}

#[test]
fn a_step_allocates_nothing_and_a_million_take_no_more_memory_than_ten_thousand() {
    let mut batch = Batch::zeros(Dtype::F32, 4, FRAME.num_values());
    batch.num_valid = 4;
    let before = NUM_BYTES.get();
    let live = Live::new(about());
    let mut num_step_allocations = 0;
    let mut held = [0; 2];
    for number in 1..=1_000_000 {
        let allocations = NUM_ALLOCATIONS.get();
        step(&live, number, &batch);
        num_step_allocations += NUM_ALLOCATIONS.get() - allocations;
        if number % STEPS_PER_EPOCH == 0 {
            epoch(&live, number);
        }
        if number == 10_000 {
            held[0] = NUM_BYTES.get() - before;
        }
    }
    held[1] = NUM_BYTES.get() - before;
    assert_eq!(num_step_allocations, 0);
    assert!(held[0] == held[1] && held[1] < HISTORY_BYTES, "{held:?} bytes");
}
