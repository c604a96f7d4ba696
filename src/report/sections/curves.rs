//! Loss, errors, learning rate and speed over the run.

use super::super::history::{by_epoch, by_step};
use super::super::page::chart_section;
use super::super::run::Run;
use crate::page::chart::{Chart, Mark, Scale, Series};
use crate::train::log::{Kind, Line};

type Value = fn(&Line) -> Option<f64>;
/// A series' name, mark and points.
type Curve = (&'static str, Mark, Vec<(f64, f64)>);

/// A chart for each quantity; one of which the log has nothing is left out.
pub(in super::super) fn curves(run: &Run) -> Vec<String> {
    let loss: Value = |line| line.loss;
    let top1: Value = |line| Some(100.0 * line.top1_error?);
    let top5: Value = |line| Some(100.0 * line.top5_error?);
    let rate: Value = |line| line.learning_rate;
    let speed: Value = |line| line.images_per_second;
    let steps = |title, scale, value, kinds: &[Kind]| {
        let series = kinds.iter().map(|&kind| (name(kind), mark(kind), by_step(run, kind, value))).collect();
        chart(title, "step", scale, series)
    };
    let epochs = |title, value| {
        let series = [Kind::Epoch, Kind::Validation].map(|kind| (name(kind), Mark::Dots, by_epoch(run, kind, value)));
        chart(title, "epoch", Scale::FromZero, series.into())
    };
    let both = [Kind::Step, Kind::Validation];
    let charts = [
        steps("Loss (cross-entropy, nats)", Scale::FromZero, loss, &both),
        steps("Top-1 error, %", Scale::FromZero, top1, &both),
        steps("Top-5 error, %", Scale::FromZero, top5, &both),
        epochs("Top-1 error by epoch, %", top1),
        epochs("Top-5 error by epoch, %", top5),
        steps("Learning rate", Scale::Logarithmic, rate, &[Kind::Step]),
        steps("Training speed, images/s", Scale::FromZero, speed, &[Kind::Step]),
    ];
    charts.into_iter().flatten().collect()
}

fn chart(title: &str, x: &str, scale: Scale, series: Vec<Curve>) -> Option<String> {
    let series: Vec<_> = series.iter().filter(|(_, _, points)| !points.is_empty()).collect();
    if series.is_empty() {
        return None;
    }
    let series = series.into_iter().map(|(name, mark, points)| Series { name, mark: *mark, points }).collect();
    Some(chart_section(&Chart { title, x, scale, series }.svg()))
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Step | Kind::Epoch => "training",
        Kind::Validation => "validation",
        Kind::Event => "events",
    }
}

fn mark(kind: Kind) -> Mark {
    match kind {
        Kind::Step => Mark::Line,
        _ => Mark::Dots,
    }
}
