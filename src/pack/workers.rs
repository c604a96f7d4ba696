//! The workers that read and decode, and the order restored behind them.
//!
//! A fixed set of slots goes round: a worker takes an empty one, then the next job, fills it and hands it over; the
//! caller gets the slots in the order of their jobs. A worker takes its slot before its job, so the earliest unfinished
//! job always has one, and jobs in the works are never further apart than there are slots.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use async_channel::{Receiver, Sender, bounded};

use super::decode::{Decoder, Unreadable};
use super::plan::Plan;
use super::source::{Source, SourceReader};
use super::statistics::ColourSums;
use crate::error::{Error, Result};
use crate::shard::format::{SAMPLE_BYTES, Split};

/// Slots beside the one that each worker fills: how far a slow image may fall behind.
const SLOTS_A_WORKER: usize = 6;

/// A packed image, or why there is none.
#[derive(Debug)]
pub struct Slot {
    /// Its place in the [`Plan`].
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
    pub outcome: Outcome,
}

/// What became of a job.
#[derive(Debug)]
pub enum Outcome {
    /// The slot holds its sample.
    Packed,
    /// The image cannot be read.
    Unreadable(Unreadable),
    /// Packing cannot go on.
    Failed(Error),
}

impl Slot {
    fn new() -> Self {
        Self {
            job: 0,
            split: Split::Train,
            label: 0,
            name: Vec::new(),
            sample: vec![0; SAMPLE_BYTES],
            colour_sums: ColourSums::default(),
            outcome: Outcome::Packed,
        }
    }
}

/// Does all jobs from `first_job` on and gives them to `take` in their order.
pub fn run(
    source: &Source,
    plan: &Plan,
    first_job: u64,
    num_threads: usize,
    mut take: impl FnMut(&mut Slot) -> Result<()>,
) -> Result<()> {
    let num_slots = num_threads * (1 + SLOTS_A_WORKER);
    let (give_back, empty) = bounded(num_slots);
    let (hand_over, filled) = bounded(num_slots);
    for _ in 0..num_slots {
        give_back.send_blocking(Slot::new()).expect("room for every slot");
    }
    let next_job = AtomicU64::new(first_job);
    let reader = SourceReader::open(source)?;
    thread::scope(|scope| {
        for _ in 0..num_threads {
            let worker = Worker {
                source,
                plan,
                next_job: &next_job,
                reader: reader.clone(),
                decoder: Decoder::default(),
                bytes: Vec::new(),
            };
            let (empty, hand_over) = (empty.clone(), hand_over.clone());
            scope.spawn(move || worker.run(&empty, &hand_over));
        }
        drop((empty, hand_over));
        // It drops its ends of the channels when it returns or panics, and there the workers stop.
        restore_order(first_job..plan.num_jobs(), num_slots, filled, give_back, &mut take)
    })
}

fn restore_order(
    jobs: std::ops::Range<u64>,
    num_slots: usize,
    filled: Receiver<Slot>,
    give_back: Sender<Slot>,
    take: &mut impl FnMut(&mut Slot) -> Result<()>,
) -> Result<()> {
    let place = |job: u64| (job % num_slots as u64) as usize;
    let mut waiting: Vec<Option<Slot>> = (0..num_slots).map(|_| None).collect();
    for job in jobs {
        let mut slot = loop {
            if let Some(slot) = waiting[place(job)].take() {
                break slot;
            }
            let slot = filled.recv_blocking().expect("a worker ends only after its last job");
            let at = place(slot.job);
            assert!(waiting[at].is_none(), "job {} lies further ahead than there are slots", slot.job);
            waiting[at] = Some(slot);
        };
        assert_eq!(slot.job, job, "the job at its place");
        take(&mut slot)?;
        // Once no job is left the workers are gone, and nobody needs the slot.
        let _ = give_back.send_blocking(slot);
    }
    Ok(())
}

struct Worker<'a> {
    source: &'a Source,
    plan: &'a Plan,
    next_job: &'a AtomicU64,
    reader: SourceReader,
    decoder: Decoder,
    /// The file of the image at hand.
    bytes: Vec<u8>,
}

/// What a worker keeps of a file buffer between images.
const KEPT_FILE_BYTES: usize = 16 << 20;

impl Worker<'_> {
    fn run(mut self, empty: &Receiver<Slot>, hand_over: &Sender<Slot>) {
        while let Ok(mut slot) = empty.recv_blocking() {
            let job = self.next_job.fetch_add(1, Ordering::Relaxed);
            if job >= self.plan.num_jobs() {
                return;
            }
            slot.job = job;
            slot.outcome = match self.fill(&mut slot) {
                Ok(Ok(())) => Outcome::Packed,
                Ok(Err(unreadable)) => Outcome::Unreadable(unreadable),
                Err(error) => Outcome::Failed(error),
            };
            if hand_over.send_blocking(slot).is_err() {
                return;
            }
        }
    }

    fn fill(&mut self, slot: &mut Slot) -> Result<Result<(), Unreadable>> {
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
