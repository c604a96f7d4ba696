//! Draws the live page: small pieces of HTML by the id of the element that they fill, so that what changes is replaced
//! and all else stays.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration};

use super::history::Series;
use super::pictures::{Picture, Pictures};
use super::{About, Best, Epoch, Live, State};
use crate::page::chart::{self, Chart, Mark, Scale};
use crate::page::html::escape;
use crate::train::log::Line;
use crate::train::metrics::{Pace, Phase};

/// The page with a `{{ID}}` in the place of each fragment.
const PAGE: &str = include_str!("page.html");
/// Puts fragments in their places as they come.
pub(crate) const SCRIPT: &str = include_str!("page.js");
/// What the common style lacks.
pub(crate) const STYLE: &str = include_str!("page.css");
/// Shown where there is no number yet.
const NONE: &str = "–";

/// HTML by the id of its element.
pub(crate) type Fragments = BTreeMap<&'static str, String>;

/// (step, value), by rising step.
type Points = Vec<(f64, f64)>;

/// The whole page, complete without its script.
pub(crate) fn html(fragments: &Fragments) -> String {
    fragments.iter().fold(PAGE.to_owned(), |page, (id, html)| page.replace(&format!("{{{{{id}}}}}"), html))
}

impl Live {
    /// Every fragment, as the run is now.
    pub(crate) fn fragments(&self) -> Fragments {
        let state = self.state().clone();
        let pictures = self.pictures();
        let about = &self.about;
        Fragments::from([
            ("title", title(about, &state)),
            ("heading", heading(about)),
            ("progress", progress(about, &state)),
            ("numbers", numbers(&state)),
            ("loss", loss(&state)),
            ("errors", errors(&state)),
            ("throughput", throughput(&state)),
            ("stages", stages(about, &state)),
            ("queue", queue(&state)),
            ("batch", batch(about, &pictures, self.id)),
            ("kernels", kernels(&pictures, self.id)),
            ("epochs", epochs(&state)),
            ("events", events(&state)),
        ])
    }
}

/// Tells a picture from those before it, and from those of other runs at this address.
pub(super) fn version(id: u64, picture: &Picture) -> String {
    format!("{id:x}-{}", picture.step)
}

fn phase(state: &State) -> &'static str {
    match (state.ended.is_some(), state.phase) {
        (true, _) => "ended",
        (false, Phase::Start) => "starting",
        (false, Phase::Train) => "training",
        (false, Phase::Validation) => "validating",
        (false, Phase::Checkpoint) => "writing a checkpoint",
    }
}

fn share_done(about: &About, state: &State) -> f64 {
    if about.last_step == 0 { 1.0 } else { state.step as f64 / about.last_step as f64 }
}

fn title(about: &About, state: &State) -> String {
    format!("{:.0}% {} · {}", 100.0 * share_done(about, state), phase(state), escape(&about.run))
}

fn heading(about: &About) -> String {
    format!(
        "<h1>{}</h1><p class=\"pale\">recipe {}, {}, {}, batch {}, {} classes</p>",
        escape(&about.run),
        escape(&about.recipe),
        escape(&about.device),
        escape(&about.precision),
        about.batch_size,
        about.classes.len()
    )
}

fn progress(about: &About, state: &State) -> String {
    let done = share_done(about, state);
    let last_epoch = about.last_step.saturating_sub(1) / about.steps_per_epoch;
    let mut text = format!(
        "<b>{}</b> · step {} of {} · epoch {} (the last is {last_epoch})",
        capitalised(phase(state)),
        HumanCount(state.step),
        HumanCount(about.last_step),
        state.epoch.min(last_epoch as u32)
    );
    match (&state.ended, state.seconds_left(about)) {
        (Some(how), _) => drop(write!(text, " · {}", escape(how))),
        (None, Some(seconds)) => drop(write!(text, " · {} left", duration(seconds))),
        (None, None) => {}
    }
    format!(
        "<progress max=\"1\" value=\"{done:.4}\" aria-label=\"Steps done\">{:.0}%</progress><p>{text}</p>",
        100.0 * done
    )
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn duration(seconds: f64) -> String {
    HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))).to_string()
}

impl State {
    /// At the mean pace of this process so far, validations and checkpoints included.
    fn seconds_left(&self, about: &About) -> Option<f64> {
        let num_steps = self.step.checked_sub(about.first_step).filter(|num_steps| *num_steps > 0)?;
        let seconds = self.begun.elapsed().as_secs_f64();
        Some(seconds / num_steps as f64 * about.last_step.saturating_sub(self.step) as f64)
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.into(), |share| format!("{:.1}%", 100.0 * share))
}

fn decimal(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| NONE.into(), |value| format!("{value:.digits$}"))
}

fn numbers(state: &State) -> String {
    let best = state.best.map_or_else(String::new, |best| format!("best {}", percent(Some(best.top1_error))));
    let validation = state.epochs.iter().rev().find_map(|epoch| epoch.validation.as_ref());
    let numbers = [
        ("Loss", decimal(state.train.loss.last_running_mean(), 3), "in training, running mean".into()),
        ("Top-1 error", percent(state.train.top1_error.last_running_mean()), "in training, running mean".into()),
        ("Validation top-1", percent(validation.and_then(|line| line.top1_error)), best),
        ("Validation top-5", percent(validation.and_then(|line| line.top5_error)), String::new()),
        ("Images a second", decimal(state.pace.map(|pace| pace.images_per_second), 0), "last 10 s of steps".into()),
        ("Learning rate", state.learning_rate.map_or_else(|| NONE.into(), |rate| format!("{rate}")), String::new()),
    ];
    let mut html = String::from("<dl class=\"numbers\">");
    for (name, value, note) in numbers {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd><dd class=\"note\">{note}</dd></div>");
    }
    html + "</dl>"
}

fn percents(points: Points) -> Points {
    points.into_iter().map(|(step, share)| (step, 100.0 * share)).collect()
}

fn chart(title: &str, scale: Scale, series: &[(&str, Mark, Points)]) -> String {
    let series = series.iter().map(|(name, mark, points)| chart::Series { name, mark: *mark, points });
    Chart { title, x: "step", scale, series: series.collect() }.narrow_svg()
}

fn loss(state: &State) -> String {
    let (train, validation) = (&state.train.loss, &state.validation.loss);
    chart(
        "Loss",
        Scale::Fitted,
        &[
            ("training", Mark::Line, train.running_means()),
            ("validation", Mark::Dots, validation.points()),
            ("each step", Mark::Faint, train.points()),
        ],
    )
}

fn errors(state: &State) -> String {
    let running = |series: &Series| percents(series.running_means());
    let points = |series: &Series| percents(series.points());
    chart(
        "Errors in %",
        Scale::FromZero,
        &[
            ("top-1 train", Mark::Line, running(&state.train.top1_error)),
            ("top-1 val", Mark::Dots, points(&state.validation.top1_error)),
            ("top-5 val", Mark::Dots, points(&state.validation.top5_error)),
        ],
    )
}

fn throughput(state: &State) -> String {
    let points = state.images_per_second.points();
    chart("Images a second", Scale::FromZero, &[("over the last 10 s of steps", Mark::Line, points)])
}

fn queue(state: &State) -> String {
    let points = state.ready_batches.points();
    chart("Batches that wait for the trainer", Scale::FromZero, &[("ready", Mark::Line, points)])
}

/// What bounds the run, and what each stage takes of its time.
fn stages(about: &About, state: &State) -> String {
    let Some(pace) = &state.pace else { return "<p class=\"pale\">No step yet.</p>".into() };
    let mut html = format!("<p>{}</p><ul class=\"stages\">", advice(pace));
    for (stage, label, share) in [
        ("input", "waiting for the input", pace.input_wait_share),
        ("upload", "upload to the device", pace.upload_share),
        ("compute", "compute", pace.compute_share),
    ] {
        let is_bottleneck = stage == pace.bottleneck;
        let _ = write!(
            html,
            "<li{}><span>{label}</span><progress max=\"1\" value=\"{share:.4}\" aria-label=\"{label}\"></progress>\
             <b>{:.0}%</b></li>",
            if is_bottleneck { " class=\"bottleneck\"" } else { "" },
            100.0 * share
        );
    }
    let (ready, empty) = (state.queues.ready_batches, state.queues.empty_buffers);
    let _ = write!(
        html,
        "</ul><p class=\"pale\">Shares of the last 10 s of steps; stages run side by side. Of {} batches in \
         circulation, waiting for the trainer: {ready}; empty: {empty}.</p>",
        about.num_buffers
    );
    html
}

fn advice(pace: &Pace) -> &'static str {
    match pace.bottleneck {
        "input" => {
            "The bottleneck is the <b>input</b>: the trainer waits for batches. More <code>--workers</code> or a \
             faster disk would help."
        }
        "upload" => "The bottleneck is the <b>upload</b>: batches take longer to the device than their steps.",
        _ => "The bottleneck is <b>compute</b>: neither input nor upload keeps the device waiting.",
    }
}

fn batch(about: &About, pictures: &Pictures, id: u64) -> String {
    let Some(picture) = &pictures.batch else {
        return "<p class=\"pale\">The next batch is shown once it was copied.</p>".into();
    };
    let names = pictures.labels.iter().map(|&label| about.classes.get(label as usize).map_or("", String::as_str));
    let captions: String = names.clone().map(|name| format!("<span>{}</span>", escape(name))).collect();
    let names = names.collect::<Vec<_>>().join(", ");
    format!(
        "<figure><div class=\"batch\">{}<div aria-hidden=\"true\">{captions}</div></div><figcaption>The first images \
         of step {}, cropped, mirrored and colour-jittered. Grey is zero: the mean.</figcaption></figure>",
        image("batch.png", picture, id, &format!("The first images of a batch: {names}")),
        HumanCount(picture.step + 1)
    )
}

fn kernels(pictures: &Pictures, id: u64) -> String {
    let Some(picture) = &pictures.kernels else {
        return "<p class=\"pale\">The first layer has no kernels on colours.</p>".into();
    };
    format!(
        "<figure>{}<figcaption>After step {}, each in its own contrast (the paper's Figure 3). They are drawn anew \
         after each checkpoint.</figcaption></figure>",
        image("kernels.png", picture, id, "The kernels of the first layer"),
        HumanCount(picture.step)
    )
}

fn image(name: &str, picture: &Picture, id: u64, alt: &str) -> String {
    let (width, height) = picture.size;
    format!(
        "<img class=\"pixels\" src=\"{name}?{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\">",
        version(id, picture),
        escape(alt)
    )
}

fn epochs(state: &State) -> String {
    if state.epochs.is_empty() {
        return "<p class=\"pale\">No epoch has ended yet.</p>".into();
    }
    let mut html = String::from("<table><thead><tr>");
    for column in ["epoch", "loss", "top-1", "validation loss", "top-1", "top-5", "images/s"] {
        let _ = write!(html, "<th class=\"number\" scope=\"col\">{column}</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for row in state.epochs.iter().rev() {
        html.push_str(&epoch(row, state.best));
    }
    html + "</tbody></table>"
}

fn epoch(row: &Epoch, best: Option<Best>) -> String {
    let of = |line: &Option<Line>, value: fn(&Line) -> Option<f64>| line.as_ref().and_then(value);
    let is_best = best.is_some_and(|best| best.epoch == row.epoch);
    let cells = [
        decimal(of(&row.train, |line| line.loss), 3),
        percent(of(&row.train, |line| line.top1_error)),
        decimal(of(&row.validation, |line| line.loss), 3),
        percent(of(&row.validation, |line| line.top1_error))
            + if is_best { " <span class=\"good\">best</span>" } else { "" },
        percent(of(&row.validation, |line| line.top5_error)),
        decimal(of(&row.train, |line| line.images_per_second), 0),
    ];
    let mut html = format!("<tr><th class=\"number\" scope=\"row\">{}</th>", row.epoch);
    for cell in cells {
        let _ = write!(html, "<td class=\"number\">{cell}</td>");
    }
    html + "</tr>"
}

fn events(state: &State) -> String {
    if state.events.is_empty() {
        return "<p class=\"pale\">Nothing yet.</p>".into();
    }
    let mut html = String::from("<ul class=\"events\">");
    for event in state.events.iter().rev() {
        let _ = write!(
            html,
            "<li><span class=\"pale\">step {}, after {}</span> {}</li>",
            HumanCount(event.step),
            duration(event.seconds),
            escape(&event.text)
        );
    }
    html + "</ul>"
}
