//! The workers that read and decode, and the reorder buffer behind them.
//!
//! A fixed set of slots circulates: a worker takes an empty slot, then the next job, fills the slot and inserts it into
//! the reorder buffer. One worker at a time consumes slots from there in the order of their jobs, so that no core is
//! shared with a thread that does only that, and the last sample is still in its cache. A worker takes its slot before
//! its job, so the earliest unfinished job always has a slot, and unfinished jobs are never further apart than there
//! are slots.

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

/// Slots per worker beside the one that it fills: how many images the others may decode while one is slow.
const SPARE_SLOTS_PER_WORKER: usize = 6;

/// A job and its result, in a buffer that is used again.
#[derive(Debug)]
pub struct SampleSlot {
    /// The number of the job in the [`PackPlan`].
    pub job: u64,
    pub split: Split,
    pub label: u32,
    /// The image's name in the source.
    pub name: Vec<u8>,
    /// (3, 256, 256), 0-255, if the outcome is `Packed`.
    pub sample: Vec<u8>,
    pub colour_sums: ColourSums,
    pub outcome: SlotOutcome,
}

#[derive(Debug)]
pub enum SlotOutcome {
    /// The slot holds the sample.
    Packed,
    /// The image cannot be read, and packing may continue without it.
    Unreadable(Unreadable),
    /// Packing cannot continue.
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

/// Does all jobs from `first_job` on and gives their slots to `consume`, in the order of the jobs, one at a time, on
/// any of the threads.
pub fn decode_in_order<F: FnMut(&mut SampleSlot) -> Result<()> + Send>(
    source: &Source,
    plan: &PackPlan,
    first_job: u64,
    num_threads: usize,
    consume: F,
) -> Result<()> {
    let num_slots = num_threads * (1 + SPARE_SLOTS_PER_WORKER);
    let (give_back, empty) = bounded(num_slots);
    for _ in 0..num_slots {
        give_back.send_blocking(SampleSlot::new()).expect("room for every slot");
    }
    let next_job = AtomicU64::new(first_job);
    let waiting = (0..num_slots).map(|_| None).collect();
    let reorder = Mutex::new(ReorderBuffer { next_job: first_job, waiting, consumer: Some(consume) });
    let reader = SourceReader::open(source)?;
    thread::scope(|scope| {
        let start = |_| {
            let worker = Worker {
                source,
                plan,
                next_job: &next_job,
                empty: empty.clone(),
                reorder: &reorder,
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

/// Filled slots that wait for those before them.
struct ReorderBuffer<F> {
    /// The first job that has not been consumed.
    next_job: u64,
    /// The slot of a job is at the job's number modulo the length.
    waiting: Vec<Option<SampleSlot>>,
    /// `None` while a worker has it.
    consumer: Option<F>,
}

impl<F> ReorderBuffer<F> {
    fn insert(&mut self, slot: SampleSlot) {
        let place = self.place(slot.job);
        assert!(self.waiting[place].is_none(), "job {} is further ahead than there are slots", slot.job);
        self.waiting[place] = Some(slot);
    }

    fn next(&mut self) -> Option<SampleSlot> {
        let place = self.place(self.next_job);
        let slot = self.waiting[place].take()?;
        assert_eq!(slot.job, self.next_job, "the job of the slot");
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
    reorder: &'a Mutex<ReorderBuffer<F>>,
    give_back: Sender<SampleSlot>,
    reader: SourceReader,
    decoder: Decoder,
    /// The bytes of the current image's file.
    bytes: Vec<u8>,
}

impl<F> Drop for Worker<'_, F> {
    /// A worker ends when no job is left or packing cannot continue; either way the others need no more slots.
    fn drop(&mut self) {
        self.give_back.close();
    }
}

/// A file buffer larger than this is not kept for the next image.
const KEPT_FILE_BYTES: usize = 16 << 20;

impl<F: FnMut(&mut SampleSlot) -> Result<()>> Worker<'_, F> {
    fn run(mut self) -> Result<()> {
        while let Ok(mut slot) = self.empty.recv_blocking() {
            // A closed channel still gives what it holds. Asked before taking a job, since a job once taken must be
            // done.
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

    /// Slots are filled in any order and consumed in the order of their jobs, by one worker at a time. The consumer is
    /// a closure that is kept in the reorder buffer while nobody uses it. In pseudo-code:
    ///
    /// ```text
    /// with the lock:  insert the slot
    ///                 if the consumer is away: return      (whoever has it finds this slot too)
    ///                 take the consumer
    /// loop:
    ///   with the lock:     next = the slot of the next job, if it is there
    ///                      if there is none: put the consumer back and return
    ///   without the lock:  consume(next), so that others insert meanwhile
    /// ```
    ///
    /// No slot is left behind: "there is none" and "put it back" happen under one lock, so a slot that is inserted
    /// later finds the consumer. After an error the consumer is not put back, so nothing after the failed job is
    /// consumed.
    fn hand_over(&self, slot: SampleSlot) -> Result<()> {
        let lock = || self.reorder.lock().expect("no worker panics while it holds the lock");
        let mut buffer = lock();
        buffer.insert(slot);
        let Some(mut consume) = buffer.consumer.take() else { return Ok(()) };
        while let Some(mut slot) = buffer.next() {
            drop(buffer);
            consume(&mut slot)?;
            // Fails once no job is left, when nobody needs the slot.
            let _ = self.give_back.send_blocking(slot);
            buffer = lock();
        }
        buffer.consumer = Some(consume);
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
