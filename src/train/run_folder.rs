//! A run's folder: its name, its configuration, its checkpoints, and that only one process writes to it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::checkpoint;
use crate::claim;
use crate::error::{Error, IoContext, Result};
use crate::publish::publish_bytes;
use crate::recipe::Recipe;

/// Where runs lie unless told otherwise.
const RUNS: &str = "runs";

/// A run's folder, held by this process.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// `[run]` of `config.toml`: what is not of the recipe.
#[derive(Clone, Debug, Serialize)]
pub struct RunInfo {
    pub shards: String,
    pub dataset: String,
    pub device: String,
    pub precision: String,
    pub workers: usize,
    /// The checkpoint whose weights the run began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// The program and version.
    pub written_by: String,
}

impl RunFolder {
    /// A new run's folder: the one named, which must not hold a run yet, or the next number under `runs/`.
    pub fn create(named: Option<&Path>, dataset: &str, recipe: &str) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None => Path::new(RUNS).join(format!("{dataset}-{recipe}-{}", newest_number(dataset, recipe)? + 1)),
        };
        if path.join("config.toml").exists() {
            return Err(Error::data(&path, "a run lies there already; --resume continues it, or name another --run"));
        }
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).at("create", &checkpoints)?;
        Self::hold(path)
    }

    /// The folder of a run to continue: the one named, or the newest number under `runs/`.
    pub fn open(named: Option<&Path>, dataset: &str, recipe: &str) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None => match newest_number(dataset, recipe)? {
                0 => {
                    return Err(Error::data(
                        RUNS,
                        format!("no run named {dataset}-{recipe}-N to resume; name the run with --run DIR"),
                    ));
                }
                number => Path::new(RUNS).join(format!("{dataset}-{recipe}-{number}")),
            },
        };
        if !path.join("checkpoints").is_dir() {
            return Err(Error::data(&path, "not a run's folder: it has no checkpoints/; name a run with --run DIR"));
        }
        Self::hold(path)
    }

    fn hold(path: PathBuf) -> Result<Self> {
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).at("create", &lock_path)?;
        let taken = "another process is training in this folder; stop it or name another --run";
        claim::lock(&lock, &path, taken)?;
        let folder = Self { path, _lock: lock };
        claim::delete_unfinished(&folder.path)?;
        claim::delete_unfinished(&folder.checkpoints())?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn newest_checkpoint(&self) -> Result<PathBuf> {
        let newest = checkpoint::list(&self.checkpoints())?.pop();
        let missing =
            || Error::data(self.checkpoints(), "no checkpoint to resume from; start the run again without --resume");
        newest.map(|(_, path)| path).ok_or_else(missing)
    }

    /// Writes `config.toml`: the whole recipe as resolved, and `[run]`.
    pub fn write_config(&self, recipe: &Recipe, run: &RunInfo) -> Result<()> {
        #[derive(Serialize)]
        struct Config<'a> {
            run: &'a RunInfo,
        }
        let run = toml::to_string(&Config { run }).expect("plain data");
        let text = format!(
            "# Everything this run was told; it is a recipe too: train --recipe config.toml\n\n{}\n{run}",
            recipe.to_toml()
        );
        publish_bytes(text.as_bytes(), &self.path.join("config.toml"))
    }
}

/// The highest N of `runs/<dataset>-<recipe>-N`, or 0.
fn newest_number(dataset: &str, recipe: &str) -> Result<u32> {
    if !Path::new(RUNS).is_dir() {
        return Ok(0);
    }
    let prefix = format!("{dataset}-{recipe}-");
    let mut newest = 0;
    for entry in std::fs::read_dir(RUNS).at("read", RUNS)? {
        let name = entry.at("read", RUNS)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}
