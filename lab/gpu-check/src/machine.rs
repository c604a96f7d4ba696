//! The machine, for the record's first lines.

use std::fs;
use std::thread::available_parallelism;

use indicatif::HumanBytes;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Task};
use super::outcome::Checked;
use alexnet::backend::cuda::{Gpu, libraries};
use alexnet::error::Result;
use alexnet::machine::processor;

/// What a record says of where it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub gpu: String,
    /// `label: words`, in order.
    pub lines: Vec<(String, String)>,
}

/// Asks the card and the libraries who they are.
pub fn task(gpu: &Gpu) -> Task<'_> {
    Task::new("the machine", || match Machine::of(gpu) {
        Ok(machine) => {
            alexnet::tell!("checking {}", machine.gpu);
            Finding::Machine(machine)
        }
        Err(error) => Finding::Checked(Checked::tried("the machine", || Err(error))),
    })
}

impl Machine {
    pub fn of(gpu: &Gpu) -> Result<Self> {
        let context = gpu.context();
        let (free, total) = context.memory()?;
        let capability = context.capability();
        let card = format!(
            "{}, sm_{}{}, {} of {} free before the check",
            context.name(),
            capability.major,
            capability.minor,
            HumanBytes(free),
            HumanBytes(total)
        );
        let driver = match kernel_module() {
            Some(module) => format!("{module}, CUDA {}", gpu.versions().driver()),
            None => format!("CUDA {}", gpu.versions().driver()),
        };
        let files: Vec<_> = libraries::files().iter().map(|file| file.display().to_string()).collect();
        let cores = available_parallelism().map_or(1, usize::from);
        let lines = [
            ("GPU", card),
            ("Driver", driver),
            ("Libraries", format!("{}; {}", gpu.versions(), files.join(", "))),
            ("Machine", format!("{}, {cores} threads, load average {}", processor(), load())),
        ];
        let lines = lines.map(|(label, words)| (label.to_owned(), words)).to_vec();
        Ok(Self { gpu: context.name().to_owned(), lines })
    }
}

/// The driver's own version, as its kernel module tells it.
fn kernel_module() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let words = text.lines().next()?.split_whitespace();
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    words.into_iter().find(is_version).map(str::to_owned)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}

/// Today in UTC, as 2026-01-31.
pub fn today() -> String {
    jiff::Timestamp::now().strftime("%F").to_string()
}
