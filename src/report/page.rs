//! The frame of a report, and the small parts that its sections are made of.

use std::time::Duration;

use indicatif::{HumanCount, HumanDuration};

use crate::page::STYLE;
use crate::page::html::escape;

/// What the style of all pages does not have.
const REPORT_STYLE: &str = include_str!("report.css");

/// A whole page. `title` is text; `header` and `sections` are HTML.
pub(super) fn page(title: &str, header: &str, sections: &[String]) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{STYLE}{REPORT_STYLE}</style>\n</head>\n<body>\n\
         <header>\n{header}</header>\n<main class=\"cards\">\n{}</main>\n\
         <footer class=\"pale\">Written by alexnet {}, report.</footer>\n</body>\n</html>\n",
        escape(title),
        sections.concat(),
        env!("CARGO_PKG_VERSION")
    )
}

/// How wide a section is where there is room for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Half,
    Whole,
}

/// A section; `title` is text, `body` HTML.
pub(super) fn section(title: &str, width: Width, body: &str) -> String {
    let class = match width {
        Width::Half => "card",
        Width::Whole => "card wide",
    };
    format!("<section class=\"{class}\">\n<h2>{}</h2>\n{body}</section>\n", escape(title))
}

/// A chart in a section of its own.
pub(super) fn chart_section(svg: &str) -> String {
    format!("<figure class=\"card\">\n{svg}\n</figure>\n")
}

/// A paragraph under a section's title; `text` is HTML.
pub(super) fn note(text: &str) -> String {
    format!("<p class=\"pale\">{text}</p>\n")
}

/// A column of a table: its name and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column<'a> {
    Text(&'a str),
    Number(&'a str),
    /// Bars of the numbers beside it.
    Bar,
}

/// A table whose first column names the rows. Cells are HTML, the columns' names and the caption text.
pub(super) fn table(caption: &str, columns: &[Column<'_>], rows: &[Vec<String>]) -> String {
    let mut html = format!("<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead><tr>", escape(caption));
    for column in columns {
        html += &match column {
            Column::Text(name) => format!("<th scope=\"col\">{}</th>", escape(name)),
            Column::Number(name) => format!("<th scope=\"col\" class=\"number\">{}</th>", escape(name)),
            Column::Bar => "<td></td>".into(),
        };
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in rows {
        assert_eq!(row.len(), columns.len(), "cells of a row");
        html += "<tr>";
        for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
            html += &match (index, column) {
                (0, Column::Text(_)) => format!("<th scope=\"row\">{cell}</th>"),
                (_, Column::Text(_)) => format!("<td>{cell}</td>"),
                (_, Column::Number(_)) => format!("<td class=\"number\">{cell}</td>"),
                (_, Column::Bar) => format!("<td class=\"share\">{cell}</td>"),
            };
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table></div>\n"
}

/// Names and values side by side; the values are HTML.
pub(super) fn numbers(pairs: &[(&str, String)]) -> String {
    let pair = |(name, value): &(&str, String)| format!("<div><dt>{}</dt><dd>{value}</dd></div>\n", escape(name));
    format!("<dl class=\"numbers\">\n{}</dl>\n", pairs.iter().map(pair).collect::<String>())
}

/// A bar of a share of 0 to 1; the number itself stands beside it as text.
pub(super) fn bar(share: f64) -> String {
    let share = if share.is_finite() { 100.0 * share.clamp(0.0, 1.0) } else { 0.0 };
    format!("<span class=\"bar\" style=\"width:{share:.1}%\"></span>")
}

/// What opens on request; the summary is text, the body HTML.
pub(super) fn details(summary: &str, body: &str) -> String {
    format!("<details>\n<summary>{}</summary>\n{body}</details>\n", escape(summary))
}

/// 0.2013 as `20.13%`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

/// As [`percent`], or a dash where nothing is known.
pub(super) fn percent_of(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), percent)
}

pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1.2 s`, `95 s`, `14 minutes`, `3 hours`.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds if seconds < 600.0 => format!("{seconds:.0} s"),
        seconds => HumanDuration(Duration::from_secs_f64(seconds.min(1e12))).to_string(),
    }
}
