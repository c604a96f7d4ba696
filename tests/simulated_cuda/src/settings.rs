//! What a test asks of the simulation, by the environment or by `simulated_configure`.

use std::ffi::{CStr, c_char, c_int};
use std::path::PathBuf;
use std::sync::Once;

use crate::calls::{self, Fault};
use crate::device;
use crate::observed::Mutation;
use crate::schedule::Schedule;

/// The settings; each is `SIMULATED_CUDA_<NAME>` in the environment and `name=value` for `simulated_configure`.
pub struct Settings {
    /// `schedule`.
    pub schedule: Schedule,
    /// `memory`: the bytes that the device pretends to have.
    pub memory_bytes: usize,
    /// `devices`.
    pub num_devices: i32,
    /// `sm`: compute capability as 90.
    pub sm: i32,
    /// `driver`: the version as 13000.
    pub driver_version: i32,
    /// `strict` (1 or 0): whether legal but unwise calls, as an asynchronous copy of pageable memory, count as
    /// violations.
    pub strict: bool,
    /// `unrepeatable`: an algorithm of convolutions that is answered as not deterministic, and may not be taken.
    pub unrepeatable: Option<u32>,
    /// `mutate`.
    pub mutations: Vec<Mutation>,
    /// `report`: a file for the report.
    pub report: Option<PathBuf>,
    /// `cache`: a folder for compiled kernels.
    pub cache: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schedule: Schedule::Prompt,
            memory_bytes: 80 << 30,
            num_devices: 1,
            sm: 90,
            driver_version: 13000,
            strict: false,
            unrepeatable: None,
            mutations: Vec::new(),
            report: None,
            cache: None,
        }
    }
}

const NAMES: [&str; 11] =
    ["schedule", "memory", "devices", "sm", "driver", "strict", "unrepeatable", "mutate", "report", "cache", "fail"];

impl Settings {
    /// Whether this kernel, or this function of a library, is told to be wrong.
    pub fn spoils(&self, name: &str) -> bool {
        self.mutations.iter().any(|mutation| matches!(mutation, Mutation::Spoil { name: spoiled } if spoiled == name))
    }

    /// What of a library's results is written.
    pub fn written<'a>(&self, function: &str, results: &'a [f32]) -> &'a [f32] {
        &results[..results.len() - usize::from(self.spoils(function))]
    }
}

/// Reads the environment, once in a process.
pub fn read_environment() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for name in NAMES {
            let variable = format!("SIMULATED_CUDA_{}", name.to_uppercase());
            let Ok(value) = std::env::var(&variable) else { continue };
            if let Err(error) = set(name, &value) {
                eprintln!("simulated CUDA: {variable}: {error}");
                std::process::abort();
            }
        }
        crate::report::at_exit();
    });
}

/// Sets one setting.
pub fn set(name: &str, value: &str) -> Result<(), String> {
    let list = || value.split(',').filter(|part| !part.is_empty());
    if name == "fail" {
        calls::lock().faults = list().map(Fault::parse).collect::<Result<_, _>>()?;
        return Ok(());
    }
    let number = || value.parse::<i64>().map_err(|_| format!("{name}={value:?}: expected a number"));
    let path = || (!value.is_empty()).then(|| PathBuf::from(value));
    let mut state = device::lock();
    let settings = &mut state.settings;
    match name {
        "schedule" => settings.schedule = value.parse()?,
        "memory" => settings.memory_bytes = number()? as usize,
        "devices" => settings.num_devices = number()? as i32,
        "sm" => settings.sm = number()? as i32,
        "driver" => settings.driver_version = number()? as i32,
        "strict" => settings.strict = number()? != 0,
        "unrepeatable" => settings.unrepeatable = Some(number()? as u32),
        "mutate" => settings.mutations = list().map(Mutation::parse).collect::<Result<_, _>>()?,
        "report" => settings.report = path(),
        "cache" => settings.cache = path(),
        _ => return Err(format!("unknown setting {name:?}; known are {NAMES:?}")),
    }
    Ok(())
}

/// Sets what `text` says (`name=value`, several separated by spaces), or, for `reset`, forgets everything: settings,
/// counts, what was observed, and every object still alive. Returns 0, or 1 after a message on the error output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simulated_configure(text: *const c_char) -> c_int {
    read_environment();
    let text = CStr::from_ptr(text).to_string_lossy();
    for word in text.split_whitespace() {
        let outcome = match word.split_once('=') {
            None if word == "reset" => {
                crate::report::reset();
                Ok(())
            }
            None => Err(format!("{word:?}: expected name=value or reset")),
            Some((name, value)) => set(name, value),
        };
        if let Err(error) = outcome {
            eprintln!("simulated CUDA: {error}");
            return 1;
        }
    }
    0
}
