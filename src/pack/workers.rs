//! The workers that read and decode, and the order restored behind them.
//!
//! A fixed set of slots goes round: a worker takes an empty one, then the next job, fills it and puts it in line; one of
//! the workers at a time takes the slots out in the order of their jobs, so that no core is shared with a thread that only
//! does that, and the last sample is still in its cache. A worker takes its slot before its job, so the earliest
//! unfinished job always has one, and jobs in the works are never further apart than there are slots.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

use async_channel::{Receiver, Sender, bounded};

use super::decode::{Decoder, Unreadable};
use super::plan::PackPlan;
use super::source::{Source, SourceReader};
use super::statistics::ColourSums;
use crate::error::{Error, Result};
use crate::shard::format::{SAMPLE_BYTES, Split};

/// Slots beside the one that each worker fills: how far a slow image may fall behind.
const SLOTS_A_WORKER: usize = 6;

/// A packed image, or why there is none.
#[derive(Debug)]
pub struct SampleSlot {
    /// Its place in the [`PackPlan`].
    pub job: u64,
    /// Which split it belongs to.
    pub split: Split,
    /// Its class.
    pub label: u32,
    /// Its name in the source.
    pub name: Vec<u8>,
    /// (3, 256, 256), 0-255.
    pub sample: Vec<u8>,
    /// Of the sample.
    pub colour_sums: ColourSums,
    /// Whether `sample` holds an image.
    pub outcome: SlotOutcome,
}

/// What became of a job.
#[derive(Debug)]
pub enum SlotOutcome {
    /// The slot holds its sample.
    Packed,
    /// The image cannot be read.
    Unreadable(Unreadable),
    /// Packing cannot go on.
    Failed(Error),
}

impl SampleSlot {
    fn new() -> Self {
        Self {
            job: 0,
            split: Split::Train,
            label: 0,
            name: Vec::new(),
            sample: vec![0; SAMPLE_BYTES],
            colour_sums: ColourSums::default(),
            outcome: SlotOutcome::Packed,
        }
    }
}

/// Does all jobs from `first_job` on and gives them to `take` in their order, one at a time, on any of the threads.
pub fn decode_in_order<F: FnMut(&mut SampleSlot) -> Result<()> + Send>(
    source: &Source,
    plan: &PackPlan,
    first_job: u64,
    num_threads: usize,
    take: F,
) -> Result<()> {
    let num_slots = num_threads * (1 + SLOTS_A_WORKER);
    let (give_back, empty) = bounded(num_slots);
    for _ in 0..num_slots {
        give_back.send_blocking(SampleSlot::new()).expect("room for every slot");
    }
    let next_job = AtomicU64::new(first_job);
    let waiting = (0..num_slots).map(|_| None).collect();
    let line = Mutex::new(ReorderBuffer { next_job: first_job, waiting, take: Some(take) });
    let reader = SourceReader::open(source)?;
    thread::scope(|scope| {
        let start = |_| {
            let worker = Worker {
                source,
                plan,
                next_job: &next_job,
                empty: empty.clone(),
                line: &line,
                give_back: give_back.clone(),
                reader: reader.clone(),
                decoder: Decoder::default(),
                bytes: Vec::new(),
            };
            scope.spawn(|| worker.run())
        };
        let workers: Vec<_> = (0..num_threads).map(start).collect();
        let join = |worker: ScopedJoinHandle<_>| worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        workers.into_iter().map(join).fold(Ok(()), Result::and)
    })
}

/// Filled slots, waiting for those before them.
struct ReorderBuffer<F> {
    /// The first that was not taken.
    next_job: u64,
    /// Each at its job modulo their number.
    waiting: Vec<Option<SampleSlot>>,
    /// `None` while a worker uses it.
    take: Option<F>,
}

impl<F> ReorderBuffer<F> {
    fn insert(&mut self, slot: SampleSlot) {
        let place = self.place(slot.job);
        assert!(self.waiting[place].is_none(), "job {} lies further ahead than there are slots", slot.job);
        self.waiting[place] = Some(slot);
    }

    fn next(&mut self) -> Option<SampleSlot> {
        let place = self.place(self.next_job);
        let slot = self.waiting[place].take()?;
        assert_eq!(slot.job, self.next_job, "the job at its place");
        self.next_job += 1;
        Some(slot)
    }

    fn place(&self, job: u64) -> usize {
        (job % self.waiting.len() as u64) as usize
    }
}

struct Worker<'a, F> {
    source: &'a Source,
    plan: &'a PackPlan,
    next_job: &'a AtomicU64,
    empty: Receiver<SampleSlot>,
    line: &'a Mutex<ReorderBuffer<F>>,
    give_back: Sender<SampleSlot>,
    reader: SourceReader,
    decoder: Decoder,
    /// The file of the image at hand.
    bytes: Vec<u8>,
}

impl<F> Drop for Worker<'_, F> {
    /// It ends where no job is left, or where packing cannot go on: the others need no slots any more.
    fn drop(&mut self) {
        self.give_back.close();
    }
}

/// What a worker keeps of a file buffer between images.
const KEPT_FILE_BYTES: usize = 16 << 20;

impl<F: FnMut(&mut SampleSlot) -> Result<()>> Worker<'_, F> {
    fn run(mut self) -> Result<()> {
        while let Ok(mut slot) = self.empty.recv_blocking() {
            // A closed channel gives what it still holds; asked before the job, since a job that is begun must be done.
            if self.empty.is_closed() {
                break;
            }
            let job = self.next_job.fetch_add(1, Ordering::Relaxed);
            if job >= self.plan.num_jobs() {
                break;
            }
            slot.job = job;
            slot.outcome = match self.fill(&mut slot) {
                Ok(Ok(())) => SlotOutcome::Packed,
                Ok(Err(unreadable)) => SlotOutcome::Unreadable(unreadable),
                Err(error) => SlotOutcome::Failed(error),
            };
            self.hand_over(slot)?;
        }
        Ok(())
    }

    /// Puts a slot in line, and takes those whose turn it is unless another worker is at it, who then takes this one too.
    fn hand_over(&self, slot: SampleSlot) -> Result<()> {
        let lock = || self.line.lock().expect("no worker panics while it looks at the line");
        let mut line = lock();
        line.insert(slot);
        let Some(mut take) = line.take.take() else { return Ok(()) };
        while let Some(mut slot) = line.next() {
            drop(line);
            take(&mut slot)?;
            // Once no job is left nobody needs the slot.
            let _ = self.give_back.send_blocking(slot);
            line = lock();
        }
        line.take = Some(take);
        Ok(())
    }

    fn fill(&mut self, slot: &mut SampleSlot) -> Result<Result<(), Unreadable>> {
        let (split, number) = self.plan.image(slot.job);
        let entry = self.source.index.entry(split, number)?;
        slot.split = split;
        slot.label = entry.label;
        let decoded = match self.reader.read(&entry, &mut self.bytes) {
            Err(unreadable) => Err(unreadable),
            Ok(None) => self.decoder.decode(&self.bytes, &mut slot.sample),
            Ok(Some(geometry)) => {
                self.decoder.arrange(&self.bytes, geometry, &mut slot.sample);
                Ok(())
            }
        };
        slot.name = entry.name;
        if decoded.is_ok() && split == Split::Train {
            slot.colour_sums = ColourSums::of(&slot.sample);
        }
        if self.bytes.capacity() > KEPT_FILE_BYTES {
            self.bytes = Vec::new();
        }
        Ok(decoded)
    }
}
