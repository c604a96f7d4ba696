//! Every kernel of ours and every product of the libraries alone against the CPU: where a wrong layer comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Task};
use super::gpu::PRECISIONS;
use super::outcome::{Checked, Found};
use super::record::cell;
use alexnet::backend::Compared;
use alexnet::backend::cuda::alone::{Case, KERNELS, PRODUCTS, Ran};
use alexnet::backend::cuda::{Gpu, Precision};
use alexnet::error::Result;

/// A row of the record's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    pub checked: Checked,
    /// None where it did not come to an end.
    pub numbers: Option<Numbers>,
}

/// What was compared, as the table has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Kinds of tensors, and how many there are.
    compared: String,
    num_values: usize,
    /// Of the value that is the nearest to what it may be off, or the furthest beyond. Words, since JSON has no NaN.
    difference: String,
    tolerance: String,
}

/// Wrong tensors that the record has of each, at most.
const MOST_DETAILS: usize = 8;

/// TF32's kernels are those of f32.
pub fn kernel_tasks(gpu: &Gpu) -> Vec<Task<'_>> {
    tasks(gpu, KERNELS, &[Precision::Bf16, Precision::F32])
}

pub fn product_tasks(gpu: &Gpu) -> Vec<Task<'_>> {
    tasks(gpu, PRODUCTS, &PRECISIONS)
}

fn tasks<'a>(gpu: &'a Gpu, cases: &'static [Case], precisions: &[Precision]) -> Vec<Task<'a>> {
    let task = |case: &'static Case, precision: Precision| {
        let name = format!("{}, {}", case.name(), precision.name());
        Task::new(name.clone(), move || Finding::Alone(tried(name, || case.run(gpu, precision))))
    };
    cases.iter().flat_map(|case| precisions.iter().map(move |precision| task(case, *precision))).collect()
}

fn tried(name: String, run: impl FnOnce() -> Result<Ran>) -> Alone {
    let mut numbers = None;
    let checked = Checked::tried(name, || {
        let ran = run()?;
        numbers = Numbers::of(&ran.compared);
        Ok(judged(&ran))
    });
    Alone { checked, numbers }
}

fn judged(Ran { compared, refused }: &Ran) -> Found {
    let wrong: Vec<&Compared> = compared.iter().filter(|one| !one.is_within()).collect();
    if let Some(first) = wrong.first() {
        let mut details: Vec<_> = wrong.iter().take(MOST_DETAILS).map(ToString::to_string).collect();
        if wrong.len() > MOST_DETAILS {
            details.push(format!("and {} more", wrong.len() - MOST_DETAILS));
        }
        return Found { details, ..Found::failed(format!("{} of {} tensors: {first}", wrong.len(), compared.len())) };
    }
    match refused {
        Some(what) if compared.is_empty() => Found::skipped(what),
        Some(what) => Found::passed(what),
        None if compared.is_empty() => Found::failed("nothing was compared"),
        None => Found::passed("as expected"),
    }
}

impl Numbers {
    fn of(compared: &[Compared]) -> Option<Self> {
        let worst = compared.iter().max_by(|one, other| one.ratio().total_cmp(&other.ratio()))?;
        let mut kinds: Vec<&str> = Vec::new();
        for one in compared {
            let kind = one.tensor.split(" of ").next().unwrap_or(&one.tensor);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Some(Self {
            compared: format!("{} ({})", kinds.join(", "), compared.len()),
            num_values: compared.iter().map(|one| one.num_values).sum(),
            difference: format!("{:.1e}", worst.difference),
            tolerance: format!("{:.1e}", worst.tolerance),
        })
    }
}

/// One row a kernel or product and precision.
pub fn write_table(out: &mut fmt::Formatter<'_>, rows: &[Alone]) -> fmt::Result {
    writeln!(out, "| | alone | compared | values | largest difference | tolerance | found |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for Alone { checked: Checked { name, outcome, found, .. }, numbers } in rows {
        let numbers = numbers.as_ref().map_or_else(
            || "- | - | - | -".to_owned(),
            |Numbers { compared, num_values, difference, tolerance }| {
                format!("{} | {num_values} | {difference} | {tolerance}", cell(compared))
            },
        );
        writeln!(out, "| {} | {} | {numbers} | {} |", outcome.word(), cell(name), cell(found))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    fn ran(refused: Option<&str>) -> Ran {
        Ran { compared: Vec::new(), refused: refused.map(str::to_owned) }
    }

    #[test]
    fn what_a_library_refuses_is_not_done_and_what_compares_nothing_is_no_pass() {
        assert_eq!(judged(&ran(Some("no kernel"))), Found::skipped("no kernel"));
        assert_eq!(judged(&ran(None)).outcome, Outcome::Failed);
        assert_eq!(Numbers::of(&[]), None);
    }
}
