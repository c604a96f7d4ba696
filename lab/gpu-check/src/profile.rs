//! Nsight Compute, where it is installed: every kernel of a few steps, by name and time.

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Task};
use super::options::{Extent, GpuCheckOptions};
use super::outcome::{Checked, with_causes};
use super::speeds::Measured;
use super::tool::{Ended, Tool, missing};
use alexnet::bench::Rates;
use alexnet::error::{IoContext, Result};

const PROGRAM: &str = "ncu";
const NUM_STEPS: usize = 4;
const SECONDS: &str = "gpu__time_duration.sum";
const BYTES: &str = "dram__bytes.sum";
/// Lines of its report that the record has, at most.
const NUM_LINES: usize = 4;

/// All launches of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    pub name: String,
    /// In all steps.
    pub launches: usize,
    pub seconds: Rates,
    /// Of a step, in the mean.
    pub step_seconds: f64,
    /// Read and written in the card's memory, bytes a second.
    pub memory_rate: f64,
}

/// Runs `train` under it.
pub fn task<'a>(options: &'a GpuCheckOptions, extent: &'a Extent) -> Task<'a> {
    let name = "Nsight Compute: times by kernel";
    Task::new(name, move || {
        let measured = match missing(PROGRAM, options) {
            Some(missing) => Ok(Err(missing)),
            None => profiled(options, extent),
        };
        match measured.unwrap_or_else(|error| Err(with_causes(&error))) {
            Ok(times) => Finding::Measured(Measured::Profile(times)),
            Err(why) => Finding::Checked(Checked::skipped(name, why)),
        }
    })
}

/// Or why not: many machines let nobody read the counters.
fn profiled(options: &GpuCheckOptions, extent: &Extent) -> Result<Result<Vec<KernelTime>, String>> {
    let tool = Tool::new(PROGRAM)?;
    let table = tool.file("ncu.csv");
    let metrics = format!("{SECONDS},{BYTES}");
    // Clocks as in training; by default they would be held at their base.
    let arguments =
        ["--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none", "--metrics", &metrics];
    let arguments = arguments.into_iter().map(str::to_owned);
    let arguments: Vec<String> = arguments.chain(["--log-file".into(), table.display().to_string()]).collect();
    match tool.watch_train(&arguments, options, extent, extent.batch_size, NUM_STEPS)? {
        Ended::Stopped => {
            return Ok(Err(format!("it did not end within {} s and was stopped", extent.tool_limit.as_secs())));
        }
        Ended::With(status) if !status.success() => {
            // Its own words are in the log, train's in the report.
            let own = std::fs::read_to_string(&table).unwrap_or_default();
            let own: Vec<&str> = own.lines().filter(|line| line.contains("==ERROR==")).take(NUM_LINES).collect();
            return Ok(Err(format!("it failed: {} {}", own.join(" / "), tool.last_lines(NUM_LINES)?)));
        }
        Ended::With(_) => {}
    }
    let times = kernel_times(&std::fs::read_to_string(&table).at("read", &table)?);
    Ok(if times.is_empty() { Err("its table has no kernels".to_owned()) } else { Ok(times) })
}

/// Those that take the most of a step first.
fn kernel_times(csv: &str) -> Vec<KernelTime> {
    let mut rows = csv.lines().filter(|line| line.starts_with('"')).map(fields);
    let header = rows.next().unwrap_or_default();
    let column = |name: &str| header.iter().position(|field| *field == name);
    let (Some(name), Some(seconds)) = (column("Kernel Name"), column(SECONDS)) else { return Vec::new() };
    let bytes = column(BYTES);
    // By name, in the order of their first launch: seconds and bytes of each.
    let mut kernels: Vec<(&str, Vec<f64>, f64)> = Vec::new();
    for row in rows {
        // The row of units has no number there.
        let number = |column: usize| row.get(column).and_then(|field| field.replace(',', "").parse::<f64>().ok());
        let (Some(name), Some(nanoseconds)) = (row.get(name).copied(), number(seconds)) else { continue };
        let index = kernels.iter().position(|kernel| kernel.0 == name).unwrap_or_else(|| {
            kernels.push((name, Vec::new(), 0.0));
            kernels.len() - 1
        });
        kernels[index].1.push(nanoseconds / 1e9);
        kernels[index].2 += bytes.and_then(number).unwrap_or(0.0);
    }
    let time = |(name, seconds, bytes): (&str, Vec<f64>, f64)| {
        let all_seconds: f64 = seconds.iter().sum();
        let launches = seconds.len();
        let (step_seconds, memory_rate) = (all_seconds / NUM_STEPS as f64, bytes / all_seconds);
        Some(KernelTime { name: name.to_owned(), launches, seconds: Rates::of(seconds)?, step_seconds, memory_rate })
    };
    let mut times: Vec<KernelTime> = kernels.into_iter().filter_map(time).collect();
    times.sort_by(|one, other| other.step_seconds.total_cmp(&one.step_seconds));
    times
}

/// All are in quotes.
fn fields(line: &str) -> Vec<&str> {
    line.trim().trim_start_matches('"').trim_end_matches('"').split("\",\"").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_added_up_by_kernel_and_the_row_of_units_is_none() {
        let csv = "==PROF== Connected\n\
            \"ID\",\"Kernel Name\",\"dram__bytes.sum\",\"gpu__time_duration.sum\"\n\
            \"\",\"\",\"byte\",\"ns\"\n\
            \"0\",\"update(float *, int)\",\"4,000\",\"2,000\"\n\
            \"1\",\"gemm\",\"100\",\"9000\"\n\
            \"2\",\"update(float *, int)\",\"4,000\",\"2,000\"\n";
        let times = kernel_times(csv);
        let names: Vec<_> = times.iter().map(|time| (time.name.as_str(), time.launches)).collect();
        assert_eq!(names, [("gemm", 1), ("update(float *, int)", 2)]);
        assert!((times[1].step_seconds - 1e-6).abs() < 1e-12 && (times[1].memory_rate - 2e9).abs() < 1.0, "{times:?}");
        assert_eq!(kernel_times("==ERROR== no permission"), []);
    }
}
