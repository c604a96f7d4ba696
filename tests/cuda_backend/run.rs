//! `train` as people type it, in a process of its own, on the simulated CUDA.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use alexnet::backend::cuda::libraries::FOLDERS_VARIABLE;
use alexnet::backend::cuda::libraries::compile::CACHE_VARIABLE;
use alexnet::train::log::{self, Kind};
use serde_json::Value;
use tempfile::TempDir;

use crate::simulated;
use alexnet::synthetic::dataset::coloured_dataset;

/// Of all runs: two epochs of six steps and a validation each, so that both slots are recorded and replayed, in either
/// pass.
pub const NUM_STEPS: u64 = 12;
/// A run takes less than a second; one that takes so long hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Arguments that others may take the place of.
const DEFAULTS: [[&str; 2]; 3] = [["--width", "0.05"], ["--set", "augment.crop=64"], ["--set", "augment.canvas=67"]];

const TINY: [&str; 8] = ["--recipe", "small", "--batch-size", "8", "--log-every", "1", "--metrics", "off"];

/// A packed dataset, the folder where CUDA is found, and one for runs and compiled kernels.
pub struct Bench {
    folder: TempDir,
    shards: PathBuf,
    libraries: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Of the simulated CUDA; null where the process ended before it could be written.
    pub report: Value,
    folder: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("shards")).expect("a folder");
        coloured_dataset(&folder.path().join("shards"), 48, 16, 4, 3).unwrap();
        Self { shards: folder.path().join("shards"), libraries: simulated::folder(), environment: vec![], folder }
    }

    /// Where only these of CUDA's libraries are found.
    pub fn with_libraries(names: &[&str]) -> Self {
        let bench = Self::new();
        let libraries = bench.path("libraries");
        fs::create_dir(&libraries).expect("a folder");
        for name in names {
            symlink(bench.libraries.join(name), libraries.join(name)).expect("a link");
        }
        Self { libraries, ..bench }
    }

    /// On a dataset that is there.
    pub fn of(shards: &Path) -> Self {
        Self {
            shards: shards.to_path_buf(),
            libraries: simulated::folder(),
            environment: vec![],
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// With these variables set for its commands.
    pub fn with_environment(self, environment: &[(&'static str, OsString)]) -> Self {
        Self { environment: environment.to_vec(), ..self }
    }

    /// Trains in the folder `name`, with more arguments, and settings of the simulated CUDA such as `("SCHEDULE",
    /// "late-copies")`.
    pub fn train(&self, name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
        let run = self.path(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.arg("--run").arg(&run).args(TINY);
        if !arguments.contains(&"--synthetic") {
            command.arg("--shards").arg(&self.shards);
        }
        // Of keys that are set twice the last one counts; other arguments may be given once.
        for default in DEFAULTS.into_iter().filter(|default| default[0] == "--set" || !arguments.contains(&default[0]))
        {
            command.args(default);
        }
        if !arguments.contains(&"--device") {
            command.args(["--device", "cuda"]);
        }
        if !arguments.contains(&"--steps") {
            command.args(["--steps", &NUM_STEPS.to_string()]);
        }
        command.args(arguments);
        self.finish(command, name, settings)
    }

    /// Lets a command end on the simulated CUDA.
    pub fn finish(&self, mut command: Command, name: &str, settings: &[(&str, &str)]) -> Ran {
        let report = self.path(&format!("{name}.json"));
        command.env(FOLDERS_VARIABLE, &self.libraries);
        command.env(CACHE_VARIABLE, self.path("cache")).env("SIMULATED_CUDA_REPORT", &report);
        for (name, value) in settings {
            command.env(format!("SIMULATED_CUDA_{name}"), value);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let Output { status, stdout, stderr } = finish(command);
        let report = fs::read(report).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Ran {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            report: report.unwrap_or(Value::Null),
            folder: self.path(name),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Ran {
    /// The checkpoint of the last step, where the run got there.
    pub fn last_checkpoint(&self) -> Option<Vec<u8>> {
        fs::read(self.checkpoint(NUM_STEPS)).ok()
    }

    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.folder.join(format!("checkpoints/step-{step:08}.safetensors"))
    }

    /// The losses of all steps and validations.
    pub fn losses(&self) -> Vec<f64> {
        let lines = log::read(&self.folder).expect("the run's log");
        let of_pass = lines.into_iter().filter(|line| matches!(line.kind, Kind::Step | Kind::Validation));
        of_pass.map(|line| line.loss.expect("a pass has a loss")).collect()
    }

    /// What was not given back, by kind.
    pub fn alive(&self) -> Vec<(String, u64)> {
        let alive = self.report["alive"].as_object().expect("the simulated CUDA's report");
        let counts = alive.iter().map(|(kind, count)| (kind.clone(), count.as_u64().expect("a count")));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// How often the program called a function of CUDA's.
    pub fn calls(&self, function: &str) -> u64 {
        self.report["calls"][function].as_u64().unwrap_or(0)
    }

    #[track_caller]
    pub fn assert_done(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert!(self.alive().is_empty(), "left over: {:?}", self.alive());
        assert_eq!(self.report["violations"], Value::Array(vec![]));
    }

    pub fn forget(&self) {
        fs::remove_dir_all(&self.folder).expect("the run's folder");
    }
}

/// Waits for the command; one that hangs is killed, and panics the test.
fn finish(mut command: Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the command starts");
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > HANGS {
            child.kill().expect("a child");
            panic!("{command:?} hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

/// Whether the file is a whole checkpoint.
pub fn is_whole(path: &Path) -> bool {
    alexnet::train::checkpoint::read::read(path).is_ok()
}
