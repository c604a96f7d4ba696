//! By which settings the run trained, and what happened to it.

use std::collections::BTreeMap;

use super::super::page::{Column, Width, details, note, seconds, section, table};
use super::super::run::Run;
use crate::page::html::escape;
use crate::recipe::{Settings, keys};
use crate::train::log::Kind;

/// The recipe, and what differs from the paper's values.
pub(in super::super) fn settings(run: &Run) -> String {
    let recipe = &run.recipe;
    let described = if recipe.description.is_empty() { String::new() } else { format!(": {}", recipe.description) };
    let mut body = note(&escape(&format!("Recipe {}{described}", recipe.name)));
    let rows = rows(&keys::differences(&Settings::default(), &recipe.settings));
    body += &if rows.is_empty() {
        note("Every key has the paper's value.")
    } else {
        let columns = [Column::Text("key"), Column::Text("this run"), Column::Text("the paper")];
        table("What differs from the paper", &columns, &rows)
    };
    let all = keys::lines(&recipe.settings).join("\n");
    body += &details("All keys", &format!("<pre><code>{}</code></pre>\n", escape(&all)));
    section("Settings", Width::Half, &body)
}

/// Key, value, and the paper's value of lines `KEY = VALUE`.
fn rows(differences: &[String]) -> Vec<Vec<String>> {
    let paper = keys::lines(&Settings::default());
    let paper: BTreeMap<&str, &str> = paper.iter().filter_map(|line| line.split_once(" = ")).collect();
    let row = |line: &String| {
        let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
        let paper = paper.get(key).copied().unwrap_or("the layer's own");
        vec![format!("<code>{}</code>", escape(key)), escape(value), escape(paper)]
    };
    differences.iter().map(row).collect()
}

/// `[run]` of the configuration.
pub(in super::super) fn circumstances(run: &Run) -> Option<String> {
    let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |(key, value): (&String, &toml::Value)| vec![escape(key), escape(&text(value))];
    let rows: Vec<_> = run.info.iter().map(row).collect();
    let columns = [Column::Text("what"), Column::Text("value")];
    (!rows.is_empty()).then(|| section("Circumstances", Width::Half, &table("How it ran", &columns, &rows)))
}

/// The log's events.
pub(in super::super) fn events(run: &Run) -> Option<String> {
    let begun = run.lines.first()?.time;
    let row = |line: &crate::train::log::Line| {
        let event = line.event.as_deref().unwrap_or_default();
        vec![line.step.to_string(), line.epoch.to_string(), seconds((line.time - begun).max(0.0)), escape(event)]
    };
    let rows: Vec<_> = run.lines_of(Kind::Event).map(row).collect();
    let columns = [Column::Number("step"), Column::Number("epoch"), Column::Number("after"), Column::Text("event")];
    (!rows.is_empty()).then(|| section("Events", Width::Half, &table("What happened", &columns, &rows)))
}
