//! Everything that a run decides before its first step: its recipe, dataset, network, folder and first weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::experiment::Experiment;
use super::options::{Data, Start, TrainOptions};
use super::run_folder::{RunFolder, RunInfo};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::input::TrainPlan;
use crate::recipe::settings::ScheduleKind;
use crate::recipe::{self, Recipe, keys, limits};
use crate::shard::{Dataset, Split};
use crate::weights::{self, Origin};

/// The one key that a resumed run may change.
const RESUMABLE_KEY: &str = "train.epochs";

/// A run before its first step.
#[derive(Debug)]
pub struct Setup {
    /// What is trained, and where it stands.
    pub experiment: Experiment,
    /// The order of training.
    pub plan: TrainPlan,
    /// Where the run's files go.
    pub folder: RunFolder,
    /// The checkpoint that the run resumes from, or whose weights it took.
    pub from: Option<PathBuf>,
}

impl Setup {
    /// Decides, and makes the run's folder last, so that a refused run leaves none.
    pub fn new(options: &TrainOptions) -> Result<Self> {
        let dataset = match &options.data {
            Data::Shards(path) => Some(Arc::new(Dataset::open(path)?)),
            Data::Synthetic => None,
        };
        match (&options.start, dataset) {
            (Start::Resume, Some(dataset)) => Self::resumed(options, dataset),
            (Start::Resume, None) => {
                Err(Error::usage("--resume continues a run on shards; --synthetic runs keep no checkpoints"))
            }
            (Start::Fresh, dataset) => Self::fresh(options, dataset, None),
            (Start::Init(path), dataset) => Self::fresh(options, dataset, Some(path.clone())),
        }
    }

    fn fresh(options: &TrainOptions, dataset: Option<Arc<Dataset>>, init: Option<PathBuf>) -> Result<Self> {
        let recipe = Recipe::load(options.recipe.as_deref().unwrap_or(recipe::DEFAULT), &options.sets)?;
        check_validation(&recipe, dataset.as_deref())?;
        let mut experiment = Experiment::new(recipe, dataset)?;
        let plan = experiment.plan()?;
        if let Some(path) = &init
            && let Origin::Converted(said) = weights::init_from(path, &mut experiment)?
        {
            crate::tell!("{said}");
        }
        let name = experiment.dataset.as_ref().map_or("synthetic", |dataset| &dataset.info().name);
        let folder = RunFolder::create(options.run.as_deref(), name, &experiment.state.recipe.name)?;
        Ok(Self { experiment, plan, folder, from: init })
    }

    fn resumed(options: &TrainOptions, dataset: Arc<Dataset>) -> Result<Self> {
        let recipe_name = options.recipe.as_deref().unwrap_or(recipe::DEFAULT);
        let recipe_name = Path::new(recipe_name).file_stem().unwrap_or_default().to_string_lossy();
        let folder = RunFolder::open(options.run.as_deref(), &dataset.info().name, &recipe_name)?;
        let path = folder.newest_checkpoint()?;
        let mut experiment = Experiment::read(&path)?;
        if experiment.state.dataset != dataset.info().id {
            return Err(Error::data(
                &path,
                format!(
                    "the run trains on the dataset {}, but {} is {}; name that dataset with --shards, \
                     or begin a new run with --init",
                    experiment.state.dataset,
                    dataset.path().display(),
                    dataset.info().id
                ),
            ));
        }
        // Of the recipe only the number of epochs may change, which neither network nor augmentation depends on.
        experiment.state.recipe = resumed_recipe(options, &experiment.state.recipe)?;
        experiment.dataset = Some(dataset);
        let plan = experiment.plan()?;
        Ok(Self { experiment, plan, folder, from: Some(path) })
    }

    /// The step with which the last epoch, or `--steps`, ends the run.
    pub fn last_step(&self, steps: Option<u64>) -> u64 {
        let last = u64::from(self.experiment.settings().train.epochs) * self.plan.steps_per_epoch();
        steps.map_or(last, |steps| steps.min(last))
    }

    pub fn write_config(&self, device: &Device, workers: usize) -> Result<()> {
        let Experiment { dataset, state, .. } = &self.experiment;
        let shards = dataset.as_ref().map(|dataset| dataset.path().display().to_string());
        let info = RunInfo {
            shards: shards.unwrap_or_else(|| "synthetic".into()),
            dataset: state.dataset.clone(),
            device: device.name.clone(),
            precision: device.precision.into(),
            workers,
            init: self.from.as_ref().filter(|_| state.step == 0).map(|path| path.display().to_string()),
            written_by: concat!("alexnet ", env!("CARGO_PKG_VERSION")).into(),
        };
        self.folder.write_config(&state.recipe, &info)
    }
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

/// The run's own recipe, with the command line's `train.epochs`; anything else that the command line would change is
/// refused.
fn resumed_recipe(options: &TrainOptions, run: &Recipe) -> Result<Recipe> {
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
