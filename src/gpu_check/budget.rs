//! The budget of a step, line by line: batch 128, bf16, the paper's network, on an H100. `docs/performance.md` has it, and a record puts its own times beside it.

use super::work::Workload;
use crate::backend::step::calls;
use crate::backend::{Call, Pass};
use crate::error::Result;
use crate::model::Network;
use crate::model::network::NUM_LAYERS;
use crate::recipe::settings::ModelSettings;

/// The batch size that it is for.
pub const BATCH_SIZE: usize = 128;
/// A step may take so long.
pub const STEP_SECONDS: f64 = 2.4e-3;
/// Images a second of synthetic training: those of such a step.
pub const IMAGES_PER_SECOND: f64 = 53_000.0;
/// Of the synthetic rate, with real shards.
pub const END_TO_END_RATIO: f64 = 0.97;

/// Of a copy within an H100's memory, measured: bytes read and written a second.
const MEMORY: f64 = 3.02e12;
/// Milliseconds of the libraries' products of conv1 to conv5 on an H100, measured by PyTorch in a CUDA graph, outside this program: forward, weight
/// gradient, input gradient.
const CONVOLUTIONS: [[f64; 3]; 5] =
    [[0.096, 0.105, 0.0], [0.163, 0.200, 0.228], [0.070, 0.057, 0.066], [0.099, 0.088, 0.089], [0.058, 0.057, 0.063]];
/// The same of fc6 to fc8, each layer's three products together. Memory bounds them, and each moves the layer's weights once: a third each.
const DENSE: [f64; 3] = [0.098, 0.047, 0.022];
/// Assumed: from one kernel of a graph to the next that needs its result.
const LAUNCH_SECONDS: f64 = 1.3e-6;
/// Assumed: what the update beside the backward pass costs the latter, of the time that it takes alone.
const UPDATE_SHOWN: f64 = 0.25;

/// A line, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// As in the record.
    pub name: String,
    /// Of cuDNN and cuBLASLt: measured, outside this program.
    pub products: f64,
    /// Of our kernels: computed, their bytes at the memory's ceiling.
    pub kernels: f64,
    /// Between kernels: assumed.
    pub launches: f64,
}

impl Line {
    /// All of it.
    pub fn sum(&self) -> f64 {
        self.products + self.kernels + self.launches
    }

    fn markdown(&self) -> String {
        let micro = |seconds: f64| if seconds == 0.0 { "-".to_owned() } else { format!("{:.1}", 1e6 * seconds) };
        let Self { name, products, kernels, launches } = self;
        format!(
            "| {name} | {} | {} | {} | {:.1} |",
            micro(*products),
            micro(*kernels),
            micro(*launches),
            1e6 * self.sum()
        )
    }
}

/// A call's name, in the budget and in records.
pub fn name(network: &Network, call: Call) -> String {
    match call {
        Call::Forward(layer) => format!("{} forward", network.layers[layer].name),
        Call::Loss => "loss".into(),
        Call::Backward(layer) => format!("{} backward", network.layers[layer].name),
        Call::Update(layer) => format!("{} update", network.layers[layer].name),
    }
}

/// The lines of a step's calls, updates excepted; the part of the updates that is not hidden; and the step, which is their sum.
pub fn lines() -> Result<Vec<Line>> {
    let network = Network::new(&ModelSettings::default(), 227, 1000)?;
    let workload = Workload { network: &network, num_samples: BATCH_SIZE, value_bytes: 2 };
    let mut lines: Vec<Line> = Vec::new();
    let mut update = Line { name: UPDATES.into(), products: 0.0, kernels: 0.0, launches: 0.0 };
    for call in calls(network.layers.len(), Pass::Train) {
        let work = workload.of(call);
        let kernels = work.kernel_bytes / MEMORY;
        if call.is_update() {
            update.kernels += UPDATE_SHOWN * kernels;
            continue;
        }
        let launches = work.launches as f64 * LAUNCH_SECONDS;
        lines.push(Line { name: name(&network, call), products: products(call), kernels, launches });
    }
    lines.push(update);
    let sum = |part: fn(&Line) -> f64| lines.iter().map(part).sum();
    let step = Line {
        name: STEP.into(),
        products: sum(|line| line.products),
        kernels: sum(|line| line.kernels),
        launches: sum(|line| line.launches),
    };
    lines.push(step);
    Ok(lines)
}

/// The line of what the updates add to a step.
pub const UPDATES: &str = "updates, as far as they are not hidden";
/// The line of the whole.
pub const STEP: &str = "step";

fn products(call: Call) -> f64 {
    let milliseconds = match call {
        Call::Forward(layer) if layer < CONVOLUTIONS.len() => CONVOLUTIONS[layer][0],
        Call::Forward(layer) => DENSE[layer - CONVOLUTIONS.len()] / 3.0,
        Call::Backward(layer) if layer < CONVOLUTIONS.len() => CONVOLUTIONS[layer][1] + CONVOLUTIONS[layer][2],
        Call::Backward(layer) => 2.0 * DENSE[layer - CONVOLUTIONS.len()] / 3.0,
        Call::Loss | Call::Update(_) => 0.0,
    };
    const { assert!(CONVOLUTIONS.len() + DENSE.len() == NUM_LAYERS) };
    milliseconds / 1e3
}

/// The table of `docs/performance.md`.
pub fn markdown() -> Result<String> {
    let mut table =
        String::from("| line | products µs | our kernels µs | launches µs | sum µs |\n|---|---|---|---|---|\n");
    for line in lines()? {
        table += &line.markdown();
        table += "\n";
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_fits_its_budget() {
        let lines = lines().expect("the paper's network");
        let step = lines.last().expect("the step");
        assert!(step.sum() <= STEP_SECONDS, "{step:?}");
        assert!(BATCH_SIZE as f64 / STEP_SECONDS >= IMAGES_PER_SECOND);
    }

    #[test]
    fn the_page_about_performance_has_the_budget() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md")).expect("the page");
        let table = markdown().expect("the paper's network");
        assert!(page.contains(&table), "docs/performance.md should have:\n{table}");
    }
}
