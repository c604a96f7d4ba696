//! The run in one look: what it was, how far it came, how well it does.

use super::super::history::Times;
use super::super::page::{count, note, numbers, percent, percent_of, seconds};
use super::super::run::Run;
use super::Evaluated;
use crate::page::html::escape;
use crate::shard::Split;
use crate::train::log::Kind;

/// The head of the page. `missing` says why nothing was evaluated.
pub(in super::super) fn header(run: &Run, evaluated: Result<&Evaluated, &str>) -> String {
    let mut html = format!("<h1>{}</h1>\n", escape(&run.name));
    html += &note(&subtitle(run));
    let time = Times::of(run).total_seconds();
    let mut pairs: Vec<(&str, String)> = Vec::new();
    match evaluated {
        Ok(Evaluated { evaluation, .. }) => {
            pairs.push(("top-1 error", percent(evaluation.rates.top1_error)));
            pairs.push(("top-5 error", percent(evaluation.rates.top5_error)));
            pairs.push(("loss", evaluation.rates.loss.map_or_else(|| "–".into(), |loss| format!("{loss:.4}"))));
            pairs.push(("validation images", count(evaluation.rates.num_samples)));
        }
        Err(_) => {
            let best = run.best_validation();
            pairs.push(("best top-1 error", percent_of(best.and_then(|line| line.top1_error))));
            pairs.push(("top-5 error", percent_of(best.and_then(|line| line.top5_error))));
        }
    }
    pairs.push(("epochs", format!("{} of {}", run.num_epochs(), run.recipe.settings.train.epochs)));
    pairs.push(("steps", count(run.num_steps())));
    pairs.push(("images/s", images_per_second(run).map_or_else(|| "–".into(), |rate| format!("{rate:.0}"))));
    pairs.push(("time", if time > 0.0 { seconds(time) } else { "–".into() }));
    html += &numbers(&pairs);
    html += &match evaluated {
        Ok(evaluated) => note(&about_evaluation(run, evaluated)),
        Err(missing) => note(&format!(
            "The parts that need images are left out: errors by class, confusion, predictions and neighbours. {}",
            escape(missing)
        )),
    };
    html
}

fn subtitle(run: &Run) -> String {
    let mut parts = vec![format!("recipe {}", escape(&run.recipe.name))];
    parts.extend(run.told("shards").map(|shards| format!("images of {}", escape(shards))));
    parts.extend(run.told("device").map(escape));
    parts.extend(run.told("precision").map(escape));
    parts.extend(run.told("written_by").map(escape));
    parts.join(" · ")
}

fn about_evaluation(run: &Run, evaluated: &Evaluated) -> String {
    let step = run.checkpoints.iter().find(|(_, path)| *path == evaluated.checkpoint).map(|(step, _)| *step);
    let best = run.best_validation().map(|line| line.step);
    let which = match step {
        Some(step) if Some(step) == best => "that of the lowest validation error",
        Some(step) if Some(step) == run.checkpoints.last().map(|(newest, _)| *newest) => "the newest",
        _ => "the one that was asked for",
    };
    let total = evaluated.dataset.split(Split::Val).num_samples() as u64;
    let seen = match evaluated.evaluation.rates.num_samples {
        num if num == total => "all".to_owned(),
        num => format!("the first {} of {}", count(num), count(total)),
    };
    let mut text = format!(
        "Errors, predictions and kernels are those of the checkpoint <code>{}</code>, {which}; measured on {seen} \
         validation images by their centre view. ",
        escape(&evaluated.checkpoint.file_name().unwrap_or_default().to_string_lossy())
    );
    let dataset = &evaluated.dataset.info().id;
    if run.told("dataset").is_some_and(|trained| trained != dataset) {
        text += &format!("The run trained on another packing of these classes (dataset {}). ", escape(dataset));
    }
    text
}

/// Images trained a second, by the log's steps.
pub(in super::super) fn images_per_second(run: &Run) -> Option<f64> {
    let steps =
        run.lines_of(Kind::Step).filter_map(|line| Some((line.images_per_second? * line.seconds?, line.seconds?)));
    let (images, seconds) = steps.fold((0.0, 0.0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
    (seconds > 0.0).then(|| images / seconds)
}
