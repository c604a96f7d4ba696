//! The state of packing, written whenever a raw shard is complete, so that packing can resume from it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{OutFolder, remove_file};
use super::options::PackOptions;
use super::raw::RawShard;
use super::source::Source;
use super::statistics::{ColourSums, PixelSums};
use crate::error::{Error, IoContext, Result};
use crate::publish::publish_bytes;
use crate::shard::DatasetInfo;
use crate::shard::dataset::PackSettings;

/// The version of the state that this build writes and reads.
const STATE_VERSION: u32 = 1;

/// Two packings with equal identities write the same shards, byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// A hash of the list of images.
    pub fingerprint: String,
    pub layout: String,
    /// The classes' names in the order of their labels.
    pub classes: Vec<String>,
    pub settings: PackSettings,
}

impl Identity {
    pub fn new(source: &Source, options: &PackOptions) -> Self {
        Self {
            fingerprint: format!("{:016x}", source.index.fingerprint()),
            layout: source.layout.name().into(),
            classes: source.classes.names().to_vec(),
            settings: PackSettings {
                seed: options.seed,
                shard_samples: options.shard_samples.into(),
                val_fraction: source.val_fraction,
                max_train: options.max_train,
                max_val: options.max_val,
            },
        }
    }

    pub fn of_dataset(info: &DatasetInfo) -> Self {
        Self {
            fingerprint: info.source.fingerprint.clone(),
            layout: info.source.layout.clone(),
            classes: info.class_names(),
            settings: info.settings.clone(),
        }
    }

    /// Fails with the differences if `out` holds another packing, whose identity is `held`.
    pub fn check_same(&self, held: &Self, out: &Path) -> Result<()> {
        let differences = self.differences(held);
        if differences.is_empty() {
            return Ok(());
        }
        let problem = format!(
            "it holds another packing: {}; give another --out, or --force to delete it and start over",
            differences.join(", ")
        );
        Err(Error::data(out, problem))
    }

    fn differences(&self, held: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, held: String, now: String| {
            if held != now {
                differences.push(format!("{what} was {held} and is {now}"));
            }
        };
        let limit = |limit: Option<u64>| limit.map_or("unlimited".into(), |limit| limit.to_string());
        let (old, new) = (&held.settings, &self.settings);
        compare("--seed", old.seed.to_string(), new.seed.to_string());
        compare("--shard-samples", old.shard_samples.to_string(), new.shard_samples.to_string());
        compare("--val-fraction", old.val_fraction.to_string(), new.val_fraction.to_string());
        compare("--max-train", limit(old.max_train), limit(new.max_train));
        compare("--max-val", limit(old.max_val), limit(new.max_val));
        compare("the layout of the source", held.layout.clone(), self.layout.clone());
        if held.classes.len() != self.classes.len() {
            compare("the number of classes", held.classes.len().to_string(), self.classes.len().to_string());
        } else if let Some((old, new)) = held.classes.iter().zip(&self.classes).find(|(old, new)| old != new) {
            compare("a class", old.clone(), new.clone());
        } else if held.fingerprint != self.fingerprint {
            differences.push("the images' names, sizes or number have changed".into());
        }
        differences
    }
}

/// How far packing has come, as of a complete raw shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    pub identity: Identity,
    /// All jobs before this one are done.
    pub next_job: u64,
    /// The complete raw shards, in order.
    pub shards: Vec<RawShard>,
    /// The number of training and validation samples of each class.
    pub class_counts: Vec<[u64; 2]>,
    pub colour_sums: ColourSums,
    /// The number of training samples in the sums.
    pub num_summed: u64,
    pub num_skipped: u64,
    /// The size of the list of skipped images.
    pub skipped_bytes: u64,
}

impl State {
    /// The state before the first image.
    pub fn new(identity: Identity) -> Self {
        Self {
            version: STATE_VERSION,
            next_job: 0,
            shards: Vec::new(),
            class_counts: vec![[0; 2]; identity.classes.len()],
            colour_sums: ColourSums::default(),
            num_summed: 0,
            num_skipped: 0,
            skipped_bytes: 0,
            identity,
        }
    }

    /// Reads the state and pixel sums of an earlier packer, if it left any.
    pub fn read(folder: &OutFolder, identity: &Identity) -> Result<Option<(Self, PixelSums)>> {
        let path = folder.state();
        if !path.exists() {
            return Ok(None);
        }
        let unreadable =
            |what: String| Error::data(&path, format!("{what}; start over with --force, or give another --out"));
        let text = fs::read_to_string(&path).at("read", &path)?;
        let state: Self =
            serde_json::from_str(&text).map_err(|error| unreadable(format!("not a state of packing: {error}")))?;
        if state.version != STATE_VERSION {
            return Err(unreadable(format!("version {}, this build reads {STATE_VERSION}", state.version)));
        }
        identity.check_same(&state.identity, folder.path())?;
        let sums_path = folder.unfinished(&state.sums_file());
        let bytes = fs::read(&sums_path).at("read", &sums_path)?;
        let sums = PixelSums::decode(&bytes, state.num_summed)
            .ok_or_else(|| unreadable(format!("{} is damaged", sums_path.display())))?;
        Ok(Some((state, sums)))
    }

    /// Writes the sums ([`PixelSums::encode`]) under a new name first, so that the state, which appears by rename,
    /// always finds the sums that belong to it.
    pub fn write(&self, folder: &OutFolder, sums: &[u8]) -> Result<()> {
        publish_bytes(sums, &folder.unfinished(&self.sums_file()))?;
        let text = serde_json::to_string(self).expect("a state is plain data");
        publish_bytes(text.as_bytes(), &folder.state())?;
        if !self.shards.is_empty() {
            remove_file(&folder.unfinished(&sums_file(self.shards.len() - 1)))?;
        }
        Ok(())
    }

    fn sums_file(&self) -> String {
        sums_file(self.shards.len())
    }

    pub fn num_samples(&self) -> u64 {
        self.shards.iter().map(|shard| shard.num_samples).sum()
    }
}

fn sums_file(num_shards: usize) -> String {
    format!("sums-{num_shards:05}")
}
