//! Everything that a run decides before its first step: its recipe, dataset, network, folder and first weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{self, Checkpoint, RunState};
use super::options::{Data, Options, Start};
use super::run_folder::{RunFolder, RunInfo};
use super::schedule::Schedule;
use crate::error::{Error, Result};
use crate::input::{Augmentation, TrainPlan};
use crate::model::init::initial_parameters;
use crate::model::{Network, Parameters};
use crate::recipe::settings::ScheduleKind;
use crate::recipe::{Recipe, keys, limits};
use crate::shard::dataset::PixelStatistics;
use crate::shard::{Dataset, SAMPLE_BYTES, Split};

/// The recipe of a run that names none.
const DEFAULT_RECIPE: &str = "alexnet";
/// Training images of the made-up dataset: as many as ImageNet has.
const SYNTHETIC_IMAGES: usize = 1_281_167;
/// Classes of the made-up dataset.
const SYNTHETIC_CLASSES: usize = 1000;
/// The one key that a resumed run may change.
const RESUMABLE_KEY: &str = "train.epochs";

/// A run before its first step.
#[derive(Debug)]
pub struct Setup {
    /// The packed dataset; none when batches are made up.
    pub dataset: Option<Arc<Dataset>>,
    /// What the network is.
    pub network: Network,
    /// Where its files go.
    pub folder: RunFolder,
    /// Where the run stands.
    pub state: RunState,
    /// The weights to begin with.
    pub parameters: Parameters,
    /// The mean image that travels in the checkpoints.
    pub mean: Vec<u8>,
    /// The order of training.
    pub plan: TrainPlan,
    /// How the network sees samples.
    pub augmentation: Augmentation,
    /// The checkpoint that the run goes on from, or whose weights it took.
    pub from: Option<PathBuf>,
}

impl Setup {
    /// Decides, and makes the run's folder last, so that a refused run leaves none.
    pub fn new(options: &Options) -> Result<Self> {
        let dataset = match &options.data {
            Data::Shards(path) => Some(Arc::new(Dataset::open(path)?)),
            Data::Synthetic => None,
        };
        let name = dataset.as_ref().map_or("synthetic", |dataset| dataset.info().name.as_str());
        match options.start {
            Start::Resume => Self::resumed(options, dataset.clone(), name),
            Start::Fresh | Start::Init(_) => Self::fresh(options, dataset.clone(), name),
        }
    }

    fn fresh(options: &Options, dataset: Option<Arc<Dataset>>, name: &str) -> Result<Self> {
        let recipe = Recipe::load(options.recipe.as_deref().unwrap_or(DEFAULT_RECIPE), &options.sets)?;
        let state = first_state(recipe, dataset.as_deref());
        check_validation(&state.recipe, dataset.as_deref())?;
        let network = state.network()?;
        let plan = plan(&state.recipe, dataset.as_deref())?;
        let augmentation = Augmentation::new(&state.recipe.settings.augment, &state.statistics)?;
        let settings = &state.recipe.settings;
        let mut parameters = initial_parameters(&network, settings.train.seed);
        let mut from = None;
        if let Start::Init(path) = &options.start {
            checkpoint::init_from(path, &state.classes, &mut parameters)?;
            from = Some(path.clone());
        }
        let folder = RunFolder::create(options.run.as_deref(), name, &state.recipe.name)?;
        let mean = dataset.as_ref().map_or_else(|| vec![0; SAMPLE_BYTES], |dataset| dataset.mean().to_vec());
        Ok(Self { dataset, network, folder, state, parameters, mean, plan, augmentation, from })
    }

    fn resumed(options: &Options, dataset: Option<Arc<Dataset>>, name: &str) -> Result<Self> {
        let Some(dataset) = dataset else {
            return Err(Error::usage("--resume goes on with a run on shards; --synthetic runs keep no checkpoints"));
        };
        let recipe_name = options.recipe.as_deref().unwrap_or(DEFAULT_RECIPE);
        let recipe_name = Path::new(recipe_name).file_stem().unwrap_or_default().to_string_lossy();
        let folder = RunFolder::open(options.run.as_deref(), name, &recipe_name)?;
        let path = folder.newest_checkpoint()?;
        let Checkpoint { mut state, parameters, mean } = checkpoint::read::read(&path)?;
        if state.dataset != dataset.info().id {
            return Err(Error::data(
                &path,
                format!(
                    "the run trains on the dataset {}, but {} is {}; name that dataset with --shards, \
                     or begin a new run with --init",
                    state.dataset,
                    dataset.path().display(),
                    dataset.info().id
                ),
            ));
        }
        state.recipe = resumed_recipe(options, &state.recipe)?;
        let network = state.network()?;
        let plan = plan(&state.recipe, Some(&dataset))?;
        let augmentation = Augmentation::new(&state.recipe.settings.augment, &state.statistics)?;
        Ok(Self {
            dataset: Some(dataset),
            network,
            folder,
            state,
            parameters,
            mean,
            plan,
            augmentation,
            from: Some(path),
        })
    }

    /// Samples of the training split.
    pub fn num_train(&self) -> usize {
        num_train(self.dataset.as_deref())
    }

    /// Samples of the validation split.
    pub fn num_val(&self) -> usize {
        self.dataset.as_ref().map_or(0, |dataset| dataset.split(Split::Val).num_samples())
    }

    /// The step with which the last epoch, or `--steps`, ends the run.
    pub fn last_step(&self, steps: Option<u64>) -> u64 {
        let last = u64::from(self.state.recipe.settings.train.epochs) * self.plan.steps_per_epoch();
        steps.map_or(last, |steps| steps.min(last))
    }

    /// Writes `config.toml`.
    pub fn write_config(&self, device: &str, precision: &str, workers: usize) -> Result<()> {
        let shards = self.dataset.as_ref().map(|dataset| dataset.path().display().to_string());
        let info = RunInfo {
            shards: shards.unwrap_or_else(|| "synthetic".into()),
            dataset: self.state.dataset.clone(),
            device: device.into(),
            precision: precision.into(),
            workers,
            init: self.from.as_ref().filter(|_| self.state.step == 0).map(|path| path.display().to_string()),
            written_by: concat!("alexnet ", env!("CARGO_PKG_VERSION")).into(),
        };
        self.folder.write_config(&self.state.recipe, &info)
    }
}

fn first_state(recipe: Recipe, dataset: Option<&Dataset>) -> RunState {
    let unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let no_statistics = PixelStatistics { channel_mean: [0.0; 3], pca_deviation: [0.0; 3], pca_vectors: unit };
    RunState {
        step: 0,
        epoch: 0,
        recipe,
        classes: dataset.map_or_else(
            || (0..SYNTHETIC_CLASSES).map(|label| label.to_string()).collect(),
            |dataset| dataset.info().class_names(),
        ),
        dataset: dataset.map_or_else(|| "synthetic".into(), |dataset| dataset.info().id.clone()),
        statistics: dataset.map_or(no_statistics, |dataset| dataset.info().statistics.clone()),
        schedule: Schedule::default(),
    }
}

fn num_train(dataset: Option<&Dataset>) -> usize {
    dataset.map_or(SYNTHETIC_IMAGES, |dataset| dataset.split(Split::Train).num_samples())
}

fn plan(recipe: &Recipe, dataset: Option<&Dataset>) -> Result<TrainPlan> {
    let train = &recipe.settings.train;
    TrainPlan::new(train.seed, num_train(dataset), train.batch_size, train.order)
}

fn check_validation(recipe: &Recipe, dataset: Option<&Dataset>) -> Result<()> {
    let Some(dataset) = dataset else { return Ok(()) };
    let plateau = recipe.settings.train.schedule == ScheduleKind::Plateau;
    if plateau && dataset.split(Split::Val).num_samples() == 0 {
        return Err(Error::usage(format!(
            "{}: it has no validation split, so train.schedule = plateau has nothing to watch; \
             --set train.schedule=steps, or pack it with a validation split",
            dataset.path().display()
        )));
    }
    Ok(())
}

/// The run's own recipe, with the command line's `train.epochs`; anything else that the command line would change is refused.
fn resumed_recipe(options: &Options, run: &Recipe) -> Result<Recipe> {
    let mut asked = match &options.recipe {
        Some(name) => Recipe::load(name, &[])?,
        None => run.clone(),
    };
    for pair in &options.sets {
        keys::set_pair(&mut asked.settings, pair)?;
    }
    limits::check(&asked.settings)?;
    let mut resumed = run.clone();
    resumed.settings.train.epochs = asked.settings.train.epochs;
    let changes = keys::differences(&resumed.settings, &asked.settings);
    if changes.is_empty() {
        return Ok(resumed);
    }
    Err(Error::usage(format!(
        "--resume keeps the run's recipe but for {RESUMABLE_KEY}, and this asks for {}; leave that out, or begin a new \
         run with --init",
        changes.join(", ")
    )))
}
