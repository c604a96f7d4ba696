//! The overlap, measured: the trainer's step around a device and an input of chosen times, at every ratio of the three.
//! What is expected is the longest of them, and not their sum.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::options::Effort;
use super::rates::Rates;
use crate::backend::BackendOptions;
use crate::backend::synthetic::{Pace, SyntheticBackend};
use crate::clock::Clock;
use crate::error::Result;
use crate::input::{PacedOptions, PipelineOptions};
use crate::model::Network;
use crate::recipe::settings::ModelSettings;
use crate::trace::Tracer;
use crate::train::feeder::Feeder;
use crate::train::stepper::{Next, Stepper};

const BATCH_SIZE: usize = 8;
/// Of the network whose steps are not computed; the smallest that the layers take.
const CANVAS: usize = 67;
const NUM_CLASSES: usize = 2;
/// A short, a middle and a long time: all orders and ties of input, upload and compute. Long enough that a thread which
/// is woken a fraction of a millisecond late does not look like a stage that is not hidden.
const MILLISECONDS: [u64; 3] = [10, 20, 40];
/// Sleeps whose lateness is measured in each round.
const NUM_SLEEPS: usize = 20;
/// Steps before those that count: the buffers that were full at the beginning must be used up.
const WARM_UP_STEPS: usize = 2 * PipelineOptions::DEFAULT_BUFFERS;

/// Every ratio, and what a step took.
#[derive(Clone, Debug, Serialize)]
pub struct OverlapReport {
    /// In the order of their times.
    pub cells: Vec<Cell>,
    /// How late the system ends a sleep of the shortest time, in milliseconds: what of the ratios is not the loop's.
    pub late_milliseconds: Rates,
}

/// One choice of times, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The time to fill a batch.
    pub input: u64,
    /// Bringing it to the device.
    pub upload: u64,
    /// The time of a step.
    pub compute: u64,
    /// A step of the loop, from end to end.
    pub step: Rates,
    /// Over the longest of the three.
    pub ratio_to_longest: f64,
    /// The measured step over the sum of the three.
    pub ratio_to_sum: f64,
}

/// Measures every cell in turn, round by round.
pub fn measure(effort: Effort) -> Result<OverlapReport> {
    let times = || MILLISECONDS.into_iter();
    let triples = times().flat_map(|input| times().map(move |upload| (input, upload)));
    let triples: Vec<_> =
        triples.flat_map(|(input, upload)| times().map(move |compute| [input, upload, compute])).collect();
    let (mut measured, mut late) = (vec![Vec::new(); triples.len()], Vec::new());
    for _ in 0..effort.rounds {
        late.extend(std::iter::repeat_with(late_milliseconds).take(NUM_SLEEPS));
        for (triple, measured) in triples.iter().zip(&mut measured) {
            measured.push(1e3 * step_seconds(triple.map(Duration::from_millis), effort)?);
        }
    }
    let cells = triples.into_iter().zip(measured).filter_map(|(times, measured)| Cell::new(times, measured));
    let late_milliseconds = Rates::of(late).expect("at least one round");
    Ok(OverlapReport { cells: cells.collect(), late_milliseconds })
}

fn late_milliseconds() -> f64 {
    let due = Instant::now() + Duration::from_millis(MILLISECONDS[0]);
    Clock::Wall.wait_until(due);
    1e3 * due.elapsed().as_secs_f64()
}

impl Cell {
    fn new(times: [u64; 3], measured: Vec<f64>) -> Option<Self> {
        let [input, upload, compute] = times;
        let (longest, sum) = (input.max(upload).max(compute) as f64, (input + upload + compute) as f64);
        let step = Rates::of(measured)?;
        let (ratio_to_longest, ratio_to_sum) = (step.median / longest, step.median / sum);
        Some(Self { input, upload, compute, step, ratio_to_longest, ratio_to_sum })
    }
}

/// The mean over a stage's time.
fn step_seconds([fill, upload, step]: [Duration; 3], effort: Effort) -> Result<f64> {
    let network = Network::new(&ModelSettings { width: 0.05, ..ModelSettings::default() }, CANVAS, NUM_CLASSES)?;
    let options = BackendOptions::for_evaluation(BATCH_SIZE);
    let backend = SyntheticBackend::new(&network, options, Pace { upload, step }, Clock::Wall);
    let pipeline = PacedOptions { batch_size: BATCH_SIZE, fill }.start()?;
    let mut stepper = Stepper::new(Box::new(backend), Feeder::new(Box::new(pipeline)), Tracer::default());
    let mut step = 0;
    let mut next = || {
        step += 1;
        stepper.step(step - 1, Next::Feed, 0.0).map(drop)
    };
    effort.warm_up(WARM_UP_STEPS, &mut next)?;
    let (num_steps, seconds) = effort.measure(&mut next)?;
    Ok(seconds / num_steps as f64)
}

impl fmt::Display for OverlapReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["input ms", "upload ms", "compute ms", "step ms", "of longest", "of sum"];
        let [input, upload, compute, step, longest, sum] = heads;
        writeln!(
            out,
            "{input:>8} {upload:>9} {compute:>10} {step:>8}  {:<18} {longest:>10} {sum:>6}",
            "lowest to highest"
        )?;
        for Cell { input, upload, compute, step, ratio_to_longest, ratio_to_sum } in &self.cells {
            let spread = format!("{:.2} to {:.2}", step.min, step.max);
            write!(out, "{input:>8} {upload:>9} {compute:>10} {:>8.2}  {spread:<18} ", step.median)?;
            writeln!(out, "{ratio_to_longest:>10.3} {ratio_to_sum:>6.3}")?;
        }
        let ratios = || self.cells.iter().map(|cell| cell.ratio_to_longest);
        let (least, most) =
            ratios().fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), r| (least.min(r), most.max(r)));
        let rounds = self.cells.first().map_or(0, |cell| cell.step.n);
        let num_cells = self.cells.len();
        writeln!(out, "of the longest: {least:.3} to {most:.3}, {num_cells} cells, medians of {rounds} rounds")?;
        let Rates { median, max, n, .. } = self.late_milliseconds;
        write!(out, "a sleep of {} ms ends {median:.2} ms late, {max:.2} at most ({n} sleeps)", MILLISECONDS[0])
    }
}
