//! Pass 1: decodes every image once, in order, into raw shards, and accumulates the sums and the list of skipped
//! images.

use std::fs::File;
use std::thread::{self, Scope, ScopedJoinHandle};

use super::decode::Unreadable;
use super::folder::{OutFolder, SKIPPED_FILE};
use super::options::BadImages;
use super::plan::PackPlan;
use super::raw::{RawShard, RawShardWriter};
use super::skipped::SkippedList;
use super::source::Source;
use super::state::State;
use super::statistics::PixelSums;
use super::workers::{self, SampleSlot, SlotOutcome};
use crate::error::{Error, IoContext, Result};
use crate::progress::Progress;
use crate::shard::Split;

/// Images between two updates of the progress bar.
const IMAGES_A_STEP: u64 = 16;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bad_images: BadImages,
    pub shard_samples: u64,
    pub num_threads: usize,
}

/// Decodes the images that `state` does not cover yet.
pub fn collect(
    source: &Source,
    plan: &PackPlan,
    folder: &OutFolder,
    limits: Limits,
    state: State,
    sums: PixelSums,
) -> Result<(State, PixelSums)> {
    let first_job = state.next_job;
    let skipped = SkippedList::resume(&folder.unfinished(SKIPPED_FILE), state.skipped_bytes, state.num_skipped)?;
    let mut progress = Progress::new("pack", "images", plan.num_jobs(), first_job);
    thread::scope(|scope| {
        let num_jobs = plan.num_jobs();
        let mut collector =
            Collector { source, folder, limits, num_jobs, scope, state, sums, skipped, raw: None, record: None };
        collector.check_limit(None)?;
        workers::decode_in_order(source, plan, first_job, limits.num_threads, |slot| {
            collector.take(slot)?;
            if slot.job % IMAGES_A_STEP == 0 {
                let num_skipped = collector.skipped.num_rows();
                progress.say(&if num_skipped > 0 { format!("{num_skipped} skipped") } else { String::new() });
                progress.set(slot.job + 1);
            }
            Ok(())
        })?;
        collector.finish()
    })
}

/// A state that packing can resume from, and the files that must be on the disk before it is written.
struct ResumePoint {
    raw: Option<RawShardWriter>,
    skipped: File,
    state: State,
    sums: Vec<u8>,
}

impl ResumePoint {
    fn write(self, folder: &OutFolder) -> Result<()> {
        self.raw.map_or(Ok(()), RawShardWriter::finish)?;
        self.skipped.sync_data().at("write", folder.unfinished(SKIPPED_FILE))?;
        self.state.write(folder, &self.sums)
    }
}

struct Collector<'scope, 'a> {
    source: &'a Source,
    folder: &'a OutFolder,
    limits: Limits,
    num_jobs: u64,
    scope: &'scope Scope<'scope, 'a>,
    /// Describes the last complete shard, except for the sums and counts, which run ahead of it.
    state: State,
    sums: PixelSums,
    skipped: SkippedList,
    raw: Option<(RawShard, RawShardWriter)>,
    /// The resume point that is being written.
    record: Option<ScopedJoinHandle<'scope, Result<()>>>,
}

impl Collector<'_, '_> {
    fn take(&mut self, slot: &mut SampleSlot) -> Result<()> {
        match std::mem::replace(&mut slot.outcome, SlotOutcome::Packed) {
            SlotOutcome::Packed => self.keep(slot)?,
            SlotOutcome::Unreadable(reason) => self.skip(slot, &reason)?,
            SlotOutcome::Failed(error) => return Err(error),
        }
        self.state.next_job = slot.job + 1;
        if self.raw.as_ref().is_some_and(|(_, raw)| raw.num_samples() == self.limits.shard_samples) {
            self.seal()?;
        }
        Ok(())
    }

    fn keep(&mut self, slot: &SampleSlot) -> Result<()> {
        if self.raw.as_ref().is_some_and(|(shard, _)| shard.split != slot.split) {
            self.seal()?;
        }
        if self.raw.is_none() {
            self.raw = Some(self.begin(slot.split)?);
        }
        let Some((_, raw)) = &mut self.raw else { unreachable!("a raw shard was just begun") };
        raw.push(&slot.sample, slot.label)?;
        self.state.class_counts[slot.label as usize][slot.split as usize] += 1;
        if slot.split == Split::Train {
            self.state.colour_sums.add(&slot.colour_sums);
            self.sums.add(&slot.sample);
        }
        Ok(())
    }

    fn begin(&self, split: Split) -> Result<(RawShard, RawShardWriter)> {
        let index = self.state.shards.iter().filter(|shard| shard.split == split).count() as u32;
        let shard = RawShard { split, index, num_samples: 0 };
        let raw = RawShardWriter::create(&self.folder.unfinished(&shard.file()))?;
        Ok((shard, raw))
    }

    /// Completes the current raw shard, if any, and records that everything before the next job is done. Packing
    /// continues meanwhile; one resume point is written at a time.
    fn seal(&mut self) -> Result<()> {
        self.wait()?;
        let raw = self.raw.take().map(|(shard, raw)| {
            self.state.shards.push(RawShard { num_samples: raw.num_samples(), ..shard });
            raw
        });
        let (skipped_bytes, skipped) = self.skipped.flush()?;
        self.state.num_summed = self.sums.num_samples();
        self.state.num_skipped = self.skipped.num_rows();
        self.state.skipped_bytes = skipped_bytes;
        let record = ResumePoint { raw, skipped, sums: self.sums.encode(), state: self.state.clone() };
        let folder = self.folder;
        self.record = Some(self.scope.spawn(move || record.write(folder)));
        Ok(())
    }

    /// Waits until the last resume point is on the disk.
    fn wait(&mut self) -> Result<()> {
        self.record
            .take()
            .map_or(Ok(()), |record| record.join().expect("a thread that writes resume points does not panic"))
    }

    fn skip(&mut self, slot: &SampleSlot, reason: &Unreadable) -> Result<()> {
        let class = &self.source.classes.names()[slot.label as usize];
        self.skipped.push(&slot.name, slot.split, class, &reason.0)?;
        let name = String::from_utf8_lossy(&slot.name);
        self.check_limit(Some(format!("{name}: {}", reason.0)))
    }

    /// Stops if too many images are bad, and leaves their list in the folder of shards.
    fn check_limit(&mut self, last: Option<String>) -> Result<()> {
        let num_bad = self.skipped.num_rows();
        let at_most = self.limits.bad_images.at_most(self.num_jobs);
        if num_bad <= at_most {
            return Ok(());
        }
        let list = self.folder.file(SKIPPED_FILE);
        self.skipped.publish(&list)?;
        let last = last.map_or(String::new(), |last| format!("{last}\n"));
        let problem = match self.limits.bad_images {
            BadImages::Stop => format!(
                "{last}--strict stops at the first image that cannot be read; \
                 leave it out to list such images and continue"
            ),
            BadImages::Skip(_) => format!(
                "{last}{num_bad} of {} images cannot be read, and --max-bad allows {at_most}; see {}. \
                 Raise --max-bad to resume where packing stopped",
                self.num_jobs,
                list.display()
            ),
        };
        Err(Error::data(self.source.root.as_path(), problem))
    }

    fn finish(mut self) -> Result<(State, PixelSums)> {
        // Even without a raw shard: the last images may all have been skipped.
        self.seal()?;
        self.wait()?;
        self.skipped.publish(&self.folder.file(SKIPPED_FILE))?;
        Ok((self.state, self.sums))
    }
}
