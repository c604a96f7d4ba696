//! A record's tables: what was measured, beside the ceilings, the roofline and the goals.

use std::fmt::{self, Write};

use super::options::Extent;
use super::roofline::Work;
use super::runs;
use super::speeds::{CallSpeed, Speeds, StageRates, StepSpeed};
use alexnet::backend::cuda::ceilings::Ceilings;
use alexnet::bench::{Rates, Stage};

/// The goals' batch size.
const BATCH_SIZE: usize = 128;
/// The goal for a training step.
const STEP_SECONDS: f64 = 2.4e-3;
/// The goal for synthetic training, images a second: those of such a step.
const IMAGES_PER_SECOND: f64 = 53_000.0;
/// The goal for training on shards, as a part of the synthetic rate.
const END_TO_END_RATIO: f64 = 0.97;

pub fn markdown(speeds: &Speeds, extent: &Extent) -> Result<String, fmt::Error> {
    let mut out = String::new();
    if !speeds.steps.is_empty() {
        goals(&mut out, speeds, extent)?;
        steps(&mut out, speeds, extent)?;
    }
    if let Some(measured) = &speeds.runs {
        runs::kernels(&mut out, measured)?;
    }
    if let Some(measured) = &speeds.algorithms {
        runs::algorithms(&mut out, measured)?;
    }
    if !speeds.profile.is_empty() {
        runs::profile(&mut out, &speeds.profile)?;
    }
    if let Some(measured) = &speeds.ceilings {
        ceilings(&mut out, measured)?;
    }
    if let Some(measured) = &speeds.calls {
        calls(&mut out, speeds, measured, extent)?;
    }
    if !speeds.batches.is_empty() {
        batches(&mut out, speeds)?;
    }
    if let Some(measured) = &speeds.stages {
        stages(&mut out, speeds, measured, extent)?;
    }
    Ok(out)
}

fn goals(out: &mut String, speeds: &Speeds, extent: &Extent) -> fmt::Result {
    writeln!(
        out,
        "\n## Goals\n\nOf the paper's network in bf16 at batch {BATCH_SIZE}, on an H100. They fail no check.\n"
    )?;
    writeln!(out, "| goal | expected | measured | reached |\n|---|---|---|---|")?;
    let batch = speeds.batch(BATCH_SIZE, extent);
    let rate = batch.map(|batch| batch.images_per_second.median);
    let step = batch.map(|batch| batch.step_seconds.median);
    let ratio = || Some(speeds.stage(Stage::EndToEnd)?.median / speeds.stage(Stage::Device)?.median);
    let mut row = |name: &str, expected: String, measured: Option<String>, reached: Option<bool>| {
        let reached = reached.map_or("not measured", |reached| if reached { "yes" } else { "no" });
        writeln!(out, "| {name} | {expected} | {} | {reached} |", measured.unwrap_or_else(|| "-".into()))
    };
    row(
        "synthetic training",
        format!("at least {IMAGES_PER_SECOND:.0} images/s"),
        rate.map(|rate| format!("{rate:.0} images/s")),
        rate.map(|rate| rate >= IMAGES_PER_SECOND),
    )?;
    row(
        "a step",
        format!("at most {:.2} ms", 1e3 * STEP_SECONDS),
        step.map(|step| format!("{:.3} ms", 1e3 * step)),
        step.map(|step| step <= STEP_SECONDS),
    )?;
    row(
        "end to end",
        format!("at least {:.0}% of synthetic", 1e2 * END_TO_END_RATIO),
        ratio().map(|ratio| format!("{:.1}%", 1e2 * ratio)),
        ratio().map(|ratio| ratio >= END_TO_END_RATIO),
    )
}

/// `CudaOptions`: what differs from one row to the next is what the options bring.
fn steps(out: &mut String, speeds: &Speeds, extent: &Extent) -> fmt::Result {
    writeln!(out, "\n## A step in several manners: batch {}, bf16\n", extent.batch_size)?;
    writeln!(out, "| manner | step ms | lowest to highest | n | images/s |\n|---|---|---|---|---|")?;
    for (manner, speed) in &speeds.steps {
        match speed {
            Ok(StepSpeed { step_seconds: Rates { median, min, max, n }, images_per_second, .. }) => writeln!(
                out,
                "| {manner} | {:.3} | {:.3} to {:.3} | {n} | {:.0} |",
                1e3 * median,
                1e3 * min,
                1e3 * max,
                images_per_second.median
            )?,
            Err(error) => writeln!(out, "| {manner} | not measured: {error} | | | |")?,
        }
    }
    Ok(())
}

fn ceilings(out: &mut String, measured: &Result<Ceilings, String>) -> fmt::Result {
    writeln!(out, "\n## Ceilings of this card\n")?;
    let ceilings = match measured {
        Ok(ceilings) => ceilings,
        Err(error) => return writeln!(out, "not measured: {error}"),
    };
    writeln!(out, "| ceiling | measured |\n|---|---|")?;
    writeln!(out, "| memory: a copy on the device, read and written | {:.3} TB/s |", ceilings.memory / 1e12)?;
    writeln!(out, "| upload: page-locked memory to the device | {:.2} GB/s |", ceilings.upload / 1e9)?;
    writeln!(out, "| arithmetic: a large bf16 product | {:.1} TFLOP/s |", ceilings.arithmetic / 1e12)
}

fn calls(out: &mut String, speeds: &Speeds, measured: &Result<Vec<CallSpeed>, String>, extent: &Extent) -> fmt::Result {
    writeln!(out, "\n## A step, line by line: batch {}, bf16\n", extent.batch_size)?;
    let calls = match measured {
        Ok(calls) => calls,
        Err(error) => return writeln!(out, "not measured: {error}"),
    };
    let n = calls.first().map_or(0, |call| call.seconds.n);
    writeln!(
        out,
        "Medians of {n} steps, launched call by call, updates alone after the rest. Roofline: the longer of what the \
         call's operations and its bytes take at the ceilings above.\n"
    )?;
    writeln!(out, "| line | GFLOP | MB | roofline µs | µs | lowest to highest | of the roofline |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    let ceilings = speeds.ceilings();
    for CallSpeed { name, seconds, work, .. } in calls {
        let Rates { median, min, max, .. } = *seconds;
        let spread = format!("{:.1} to {:.1}", 1e6 * min, 1e6 * max);
        let least = ceilings.map(|ceilings| work.seconds(ceilings));
        writeln!(out, "{}", roofline_row(name, work, least, median, &spread))?;
    }
    let mut computed_seconds = 0.0;
    for (name, updates) in [("all but updates", false), ("all updates, alone", true)] {
        let calls = || calls.iter().filter(|call| call.is_update == updates);
        let seconds = calls().map(|call| call.seconds.median).sum();
        let least = ceilings.map(|ceilings| calls().map(|call| call.work.seconds(ceilings)).sum());
        writeln!(out, "{}", roofline_row(name, &calls().map(|call| call.work).sum(), least, seconds, ""))?;
        computed_seconds += if updates { 0.0 } else { seconds };
    }
    let step = speeds.batch(extent.batch_size, extent).map(|batch| batch.step_seconds.median);
    let micro =
        |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.1}", 1e6 * seconds));
    // It includes what the graph saves, so that it can be negative.
    let shown = step.map(|step| step - computed_seconds);
    writeln!(out, "| updates, as far as they are not hidden | | | | {} | | |", micro(shown))?;
    writeln!(out, "| step | | | | {} | | |", micro(step))
}

/// `| line | GFLOP | MB | roofline µs | µs | lowest to highest | of the roofline |`.
fn roofline_row(name: &str, work: &Work, least: Option<f64>, seconds: f64, spread: &str) -> String {
    let (gigaflops, megabytes) = (work.flops / 1e9, work.bytes / 1e6);
    let (least, ratio) = match least {
        Some(least) => (format!("{:.1}", 1e6 * least), format!("{:.0}%", 1e2 * least / seconds)),
        None => ("-".into(), "-".into()),
    };
    format!("| {name} | {gigaflops:.1} | {megabytes:.1} | {least} | {:.1} | {spread} | {ratio} |", 1e6 * seconds)
}

fn batches(out: &mut String, speeds: &Speeds) -> fmt::Result {
    writeln!(out, "\n## Synthetic training by batch size: bf16, recorded steps\n")?;
    writeln!(
        out,
        "| batch | step ms | images/s | lowest to highest | of arithmetic | of memory |\n|---|---|---|---|---|---|"
    )?;
    for (batch_size, speed) in &speeds.batches {
        let speed = match speed {
            Ok(speed) => speed,
            Err(error) => {
                writeln!(out, "| {batch_size} | not measured: {error} | | | | |")?;
                continue;
            }
        };
        let (seconds, rate) = (speed.step_seconds.median, &speed.images_per_second);
        let of = |work: f64, ceiling: fn(&Ceilings) -> f64| {
            let ratio = speeds.ceilings().map(|ceilings| 1e2 * work / seconds / ceiling(ceilings));
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.0}%"))
        };
        writeln!(
            out,
            "| {batch_size} | {:.3} | {:.0} | {:.0} to {:.0} | {} | {} |",
            1e3 * seconds,
            rate.median,
            rate.min,
            rate.max,
            of(speed.work.flops, |ceilings| ceilings.arithmetic),
            of(speed.work.bytes, |ceilings| ceilings.memory)
        )?;
    }
    Ok(())
}

fn stages(out: &mut String, speeds: &Speeds, measured: &Result<StageRates, String>, extent: &Extent) -> fmt::Result {
    writeln!(out, "\n## Stages alone and together: batch {}, bf16\n", extent.batch_size)?;
    let stages = match measured {
        Ok(stages) => stages,
        Err(error) => return writeln!(out, "not measured: {error}"),
    };
    writeln!(out, "Synthetic shards in a temporary folder; rounds in turns, as `bench` does.\n")?;
    writeln!(
        out,
        "| stage | images/s | lowest to highest | n | of the bus's ceiling | of synthetic |\n|---|---|---|---|---|---|"
    )?;
    let synthetic = speeds.stage(Stage::Device);
    let image_bytes = (3 * extent.canvas * extent.canvas * 2) as f64;
    for (stage, rates) in stages {
        let name = if *stage == Stage::Device { "synthetic (device)" } else { stage.name() };
        let Some(Rates { median, min, max, n }) = rates else {
            writeln!(out, "| {name} | - | | | | |")?;
            continue;
        };
        let percent = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}%", 1e2 * ratio));
        // Every image crosses the bus in f16.
        let of_bus = speeds.ceilings().map(|ceilings| median * image_bytes / ceilings.upload);
        let of_synthetic = synthetic.map(|synthetic| median / synthetic.median);
        let (of_bus, of_synthetic) = (percent(of_bus), percent(of_synthetic));
        writeln!(out, "| {name} | {median:.0} | {min:.0} to {max:.0} | {n} | {of_bus} | {of_synthetic} |")?;
    }
    Ok(())
}
