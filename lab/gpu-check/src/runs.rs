//! The record's tables of what runs: a step's kernels, their times, and the libraries' algorithms.

use std::fmt::{self, Write};

use super::profile::KernelTime;
use alexnet::backend::cuda::libraries::tuning::{Candidate, Choice};
use alexnet::backend::cuda::{GraphKernel, WhatRuns};

pub fn kernels(out: &mut String, measured: &Result<WhatRuns, String>) -> fmt::Result {
    writeln!(out, "\n## What runs: the kernels of a recorded step, bf16\n")?;
    let runs = match measured {
        Ok(runs) => runs,
        Err(error) => return writeln!(out, "not measured: {error}"),
    };
    let (num_kernels, num_others) = (runs.kernels.len(), runs.num_others);
    writeln!(out, "{num_kernels} kernels and {num_others} other pieces of work, equal launches in one row.\n")?;
    writeln!(out, "| kernel | launches | blocks | threads | registers | shared bytes | local bytes |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    let mut rows: Vec<(&GraphKernel, usize)> = Vec::new();
    for kernel in &runs.kernels {
        match rows.iter_mut().find(|(row, _)| *row == kernel) {
            Some((_, launches)) => *launches += 1,
            None => rows.push((kernel, 1)),
        }
    }
    for (kernel, launches) in rows {
        let GraphKernel { name, grid, block, shared_bytes, num_registers, local_bytes } = kernel;
        let [grid, block] = [grid, block].map(|[x, y, z]| format!("{x} x {y} x {z}"));
        let numbers = format!("{num_registers} | {shared_bytes} | {local_bytes}");
        writeln!(out, "| `{name}` | {launches} | {grid} | {block} | {numbers} |")?;
    }
    writeln!(out, "\n## What runs: the algorithms that were taken\n")?;
    table(out, &runs.choices, |_| String::new())
}

pub fn algorithms(out: &mut String, measured: &Result<Vec<Choice>, String>) -> fmt::Result {
    writeln!(out, "\n## All algorithms by their times, as --tune measures them\n")?;
    match measured {
        Ok(choices) => table(out, choices, |candidate| format!(" in {:.1} µs", 1e3 * candidate.milliseconds)),
        Err(error) => writeln!(out, "not measured: {error}"),
    }
}

pub fn profile(out: &mut String, times: &[KernelTime]) -> fmt::Result {
    writeln!(out, "\n## Times by kernel, by Nsight Compute: each launched alone\n")?;
    writeln!(
        out,
        "| kernel | launches | median µs | lowest to highest | µs a step | GB/s |\n|---|---|---|---|---|---|"
    )?;
    for KernelTime { name, launches, seconds, step_seconds, memory_rate } in times {
        let [median, min, max, step] = [seconds.median, seconds.min, seconds.max, *step_seconds].map(|time| 1e6 * time);
        let rate = memory_rate / 1e9;
        writeln!(out, "| `{name}` | {launches} | {median:.1} | {min:.1} to {max:.1} | {step:.1} | {rate:.0} |")?;
    }
    Ok(())
}

/// By the libraries' numbers, with working memory and whether results are bitwise reproducible.
fn table(out: &mut String, choices: &[Choice], time: impl Fn(&Candidate) -> String) -> fmt::Result {
    writeln!(out, "| work | taken | all that were named, the best first |\n|---|---|---|")?;
    for Choice { work, taken, candidates } in choices {
        let words = |candidate: &Candidate| {
            let megabytes = candidate.workspace_bytes as f64 / 1e6;
            let repeats = if candidate.is_repeatable { "" } else { ", not reproducible" };
            format!("{}{} ({megabytes:.1} MB{repeats})", candidate.algorithm, time(candidate))
        };
        let named: Vec<String> = candidates.iter().map(words).collect();
        writeln!(out, "| {work} | {taken} | {} |", named.join("; "))?;
    }
    Ok(())
}
