//! The conveyor with synthetic work: order, back-pressure, errors, and stopping at any moment.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Long enough for a loaded machine, short enough to be waited for.
const PATIENCE: Duration = Duration::from_secs(20);

type Fill = Box<dyn Fn(u64) -> Result<()> + Send + Sync>;

/// Fills nothing, but does what it is told at each step.
struct MadeUp {
    fill: Fill,
    filled: Mutex<Vec<u64>>,
    advised: Mutex<Vec<u64>>,
}

impl Work for MadeUp {
    fn fill(&self, step: u64, batch: &mut Batch) -> Result<()> {
        self.filled.lock().unwrap().push(step);
        (batch.step, batch.num_valid) = (step, 1);
        (self.fill)(step)
    }

    fn advise(&self, step: u64) {
        self.advised.lock().unwrap().push(step);
    }
}

fn start(
    buffers: usize,
    steps: Range<u64>,
    fill: impl Fn(u64) -> Result<()> + Send + Sync + 'static,
) -> (Pipeline, Arc<MadeUp>) {
    let work = Arc::new(MadeUp { fill: Box::new(fill), filled: Mutex::default(), advised: Mutex::default() });
    let reads = Reads { steps: steps.clone(), ahead: NonZeroU64::new(3) };
    let options = PipelineOptions { dtype: Dtype::F32, workers: 1, buffers, prefetch_steps: 3, steps };
    let buffer = Batch::zeros(Dtype::F32, 1, 4);
    (Pipeline::start_with(Arc::clone(&work), buffer, options, reads, Arc::default()).unwrap(), work)
}

/// Fails where `body` hangs, instead of hanging with it.
fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(body()));
    wait.recv_timeout(PATIENCE).expect("an end in time")
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "a condition in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The steps of all batches up to the end or an error.
fn drained(pipeline: &mut Pipeline) -> (Vec<u64>, Option<Error>) {
    let mut steps = Vec::new();
    loop {
        match pipeline.recv() {
            Ok(Some(batch)) => {
                steps.push(batch.step);
                pipeline.recycle(batch);
            }
            Ok(None) => return (steps, None),
            Err(error) => return (steps, Some(error)),
        }
    }
}

#[test]
fn batches_come_in_step_order_however_long_each_takes() {
    let (steps, error) = in_time(|| {
        let slow_even = |step: u64| {
            std::thread::sleep(Duration::from_millis(if step.is_multiple_of(2) { 4 } else { 0 }));
            Ok(())
        };
        drained(&mut start(4, 10..40, slow_even).0)
    });
    assert!(error.is_none() && steps == (10..40).collect::<Vec<_>>(), "{steps:?}");
}

#[test]
fn an_error_comes_in_its_steps_turn() {
    let (steps, error) = in_time(|| {
        let fails_early = |step: u64| match step {
            3 => Err(Error::data("train-00001.shard", "damaged")),
            _ => {
                std::thread::sleep(Duration::from_millis(10));
                Ok(())
            }
        };
        drained(&mut start(6, 0..u64::MAX, fails_early).0)
    });
    assert_eq!(steps, [0, 1, 2]);
    assert_eq!(error.unwrap().to_string(), "train-00001.shard: damaged");
}

#[test]
fn a_panic_of_a_worker_is_an_error_at_the_trainer() {
    let (steps, error) = in_time(|| {
        drained(&mut start(3, 0..u64::MAX, |step| if step == 2 { panic!("worker of step {step}") } else { Ok(()) }).0)
    });
    assert_eq!(steps, [0, 1]);
    let error = error.unwrap().to_string();
    assert!(error.contains("the batch of step 2") && error.contains("worker of step 2"), "{error}");
}

#[test]
fn a_panic_in_the_pool_is_one_too() {
    let (steps, error) = in_time(|| {
        let workers = AugmentWorkers::start(2).unwrap();
        let fill = move |step| {
            workers
                .scope(|scope| (0..4).for_each(|task| scope.spawn(move |_| assert!(step + task < 5, "task {task}"))));
            Ok(())
        };
        drained(&mut start(3, 0..u64::MAX, fill).0)
    });
    assert_eq!(steps, [0, 1]);
    assert!(error.unwrap().to_string().contains("task 3"));
}

#[test]
fn no_more_batches_are_filled_than_there_are_buffers() {
    let (mut pipeline, work) = start(3, 0..u64::MAX, |_| Ok(()));
    let num_filled = || work.filled.lock().unwrap().len();
    until(|| pipeline.stats().snapshot().ready_batches == 3);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(num_filled(), 3);
    let batch = pipeline.recv().unwrap().unwrap();
    assert_eq!(num_filled(), 3);
    pipeline.recycle(batch);
    until(|| num_filled() == 4);
    assert!(pipeline.stats().snapshot().buffer_wait_seconds > 0.015);
}

#[test]
fn the_prefetcher_asks_for_each_coming_step_once() {
    let (mut pipeline, work) = start(2, 5..30, |_| Ok(()));
    let (steps, _) = drained(&mut pipeline);
    drop(pipeline);
    let advised = work.advised.lock().unwrap();
    assert!(advised.windows(2).all(|pair| pair[0] < pair[1]), "{advised:?}");
    assert!(advised.iter().all(|step| (5..30).contains(step)) && !advised.is_empty(), "{advised:?}");
    assert_eq!(steps.len(), 25);
}

#[test]
fn it_stops_when_all_buffers_are_full() {
    let (pipeline, work) = start(3, 0..u64::MAX, |_| Ok(()));
    until(|| pipeline.stats().snapshot().ready_batches == 3);
    in_time(|| drop(pipeline));
    assert_eq!(Arc::strong_count(&work), 1, "the conveyor let go of its work");
}

#[test]
fn it_stops_when_the_trainer_holds_all_buffers() {
    let (mut pipeline, work) = start(3, 0..u64::MAX, |_| Ok(()));
    let held: Vec<Batch> = (0..3).map(|_| pipeline.recv().unwrap().unwrap()).collect();
    in_time(|| drop(pipeline));
    assert_eq!((Arc::strong_count(&work), held.len()), (1, 3));
}

#[test]
fn it_stops_in_the_middle_of_a_batch_once_that_is_filled() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (pipeline, work) = start(3, 0..u64::MAX, move |_| {
        // An error: the test is over, and nobody waits any more.
        let _ = gate.lock().unwrap().recv();
        Ok(())
    });
    until(|| !work.filled.lock().unwrap().is_empty());
    let dropped = std::thread::spawn(|| drop(pipeline));
    std::thread::sleep(Duration::from_millis(10));
    assert!(!dropped.is_finished(), "it waits for the batch in work");
    drop(release);
    in_time(|| dropped.join().unwrap());
    assert_eq!(Arc::strong_count(&work), 1);
}

#[test]
fn after_the_last_step_there_is_nothing_and_no_hang() {
    in_time(|| {
        let (mut pipeline, _) = start(2, 7..9, |_| Ok(()));
        let held: Vec<Batch> = (0..2).map(|_| pipeline.recv().unwrap().unwrap()).collect();
        assert!(pipeline.recv().unwrap().is_none() && pipeline.recv().unwrap().is_none());
        held.into_iter().for_each(|batch| pipeline.recycle(batch));
        let (mut pipeline, _) = start(2, 7..7, |_| Ok(()));
        assert!(pipeline.recv().unwrap().is_none());
    });
}

#[test]
#[should_panic(expected = "2 of 2 batches are lent")]
fn a_trainer_that_holds_everything_and_asks_for_more_is_told() {
    let (mut pipeline, _) = start(2, 0..u64::MAX, |_| Ok(()));
    let _held: Vec<Batch> = (0..3).map(|_| pipeline.recv().unwrap().unwrap()).collect();
}
