//! The comparison as a page.

use super::super::history::{by_epoch, by_step};
use super::super::page::{Column, Width, chart_section, note, page, section, table};
use super::super::run::Run;
use super::table::results;
use super::{Comparison, Seeds};
use crate::page::chart::{Chart, Mark, Scale, Series};
use crate::page::html::escape;
use crate::train::log::{Kind, Line};

type Value = fn(&Line) -> Option<f64>;

pub(super) fn html(comparison: &Comparison) -> String {
    let mut sections = vec![errors(comparison)];
    sections.extend(charts(&comparison.runs));
    sections.push(differences(comparison));
    let title = format!("{} runs compared", comparison.runs.len());
    let names: Vec<_> = comparison.runs.iter().map(|run| escape(&run.name)).collect();
    page(&title, &format!("<h1>{title}</h1>\n{}", note(&names.join(" · "))), &sections)
}

fn errors(comparison: &Comparison) -> String {
    let rows = results(comparison);
    let columns: Vec<_> = rows[0]
        .iter()
        .enumerate()
        .map(|(index, name)| if index < 2 { Column::Text(name) } else { Column::Number(name) })
        .collect();
    let escaped = |row: &Vec<String>| row.iter().map(|cell| escape(cell)).collect();
    let mut body = table(
        "Errors of the last validation and of the best, on the whole validation split by the centre view",
        &columns,
        &rows[1..].iter().map(escaped).collect::<Vec<_>>(),
    );
    let seeds = comparison.seeds();
    if !seeds.is_empty() {
        let row = |seeds: &Seeds<'_>| {
            vec![escape(&seeds.names.join(", ")), seeds.top1_error.percent(), seeds.top5_error.percent()]
        };
        body += &table(
            "Mean and standard deviation (n - 1) over runs that differ by their seed alone",
            &[Column::Text("runs"), Column::Number("top-1 error"), Column::Number("top-5 error")],
            &seeds.iter().map(row).collect::<Vec<_>>(),
        );
    }
    section("Errors", Width::Whole, &body)
}

fn charts(runs: &[Run]) -> Vec<String> {
    let top1: Value = |line| Some(100.0 * line.top1_error?);
    let top5: Value = |line| Some(100.0 * line.top5_error?);
    let epochs = |title, value: Value| {
        let points = runs.iter().map(|run| by_epoch(run, Kind::Validation, value)).collect();
        chart(title, "epoch", Scale::FromZero, Mark::Dots, runs, points)
    };
    let steps = |title, scale, value: Value| {
        let points = runs.iter().map(|run| by_step(run, Kind::Step, value)).collect();
        chart(title, "step", scale, Mark::Line, runs, points)
    };
    vec![
        epochs("Validation top-1 error, %", top1),
        epochs("Validation top-5 error, %", top5),
        epochs("Validation loss (cross-entropy, nats)", |line| line.loss),
        steps("Training loss (cross-entropy, nats)", Scale::FromZero, |line| line.loss),
        steps("Learning rate", Scale::Logarithmic, |line| line.learning_rate),
        steps("Training speed, images/s", Scale::FromZero, |line| line.images_per_second),
    ]
}

fn chart(title: &str, x: &str, scale: Scale, mark: Mark, runs: &[Run], points: Vec<Vec<(f64, f64)>>) -> String {
    let series = runs.iter().zip(&points).map(|(run, points)| Series { name: &run.name, mark, points }).collect();
    chart_section(&Chart { title, x, scale, series }.svg())
}

fn differences(comparison: &Comparison) -> String {
    let differences = comparison.differences();
    if differences.is_empty() {
        return section("Settings", Width::Whole, &note("The runs have the same settings."));
    }
    let mut columns = vec![Column::Text("key")];
    columns.extend(comparison.runs.iter().map(|run| Column::Text(&run.name)));
    let row = |(key, values): &(String, Vec<String>)| {
        let key = format!("<code>{}</code>", escape(key));
        std::iter::once(key).chain(values.iter().map(|value| escape(value))).collect()
    };
    let rows: Vec<_> = differences.iter().map(row).collect();
    section("Settings", Width::Whole, &table("What differs between the runs", &columns, &rows))
}
