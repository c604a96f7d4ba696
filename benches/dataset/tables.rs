//! The record's tables.

use std::fmt::Write;

use crate::point::Measured;
use crate::report::{sorted, spread};

type Column = (&'static str, fn(&Measured) -> Option<f64>);

const SPEED: [Column; 6] = [
    ("images/s", |measured| Some(measured.again_per_second)),
    ("images per CPU second", |measured| Some(measured.again_per_cpu_second)),
    ("first reading, per CPU second", |measured| measured.first_per_cpu_second),
    ("end to end, images/s", |measured| Some(measured.end_to_end_per_second)),
    ("anonymous, MB", |measured| Some(measured.anonymous_megabytes)),
    ("with mapped pages, MB", |measured| Some(measured.resident_megabytes)),
];

const OPENING: [Column; 2] = [
    ("open, ms", |measured| Some(measured.open_milliseconds)),
    ("whole process then, MB", |measured| Some(measured.open_megabytes)),
];

/// A row for each number of `grows`.
pub fn speed(grows: &str, rows: &[(usize, &[Measured])]) -> String {
    table(grows, &SPEED, rows)
}

/// The same of what it takes to open a dataset.
pub fn opening(grows: &str, rows: &[(usize, &[Measured])]) -> String {
    table(grows, &OPENING, rows)
}

fn table(grows: &str, columns: &[Column], rows: &[(usize, &[Measured])]) -> String {
    let heads: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = format!("| {grows} | {} |\n|{}\n", heads.join(" | "), "---|".repeat(1 + columns.len()));
    for (number, measured) in rows {
        let cells = columns.iter().map(|(_, value)| cell(measured.iter().filter_map(value).collect()));
        writeln!(text, "| {number} | {} |", cells.collect::<Vec<_>>().join(" | ")).expect("text grows");
    }
    text
}

fn cell(values: Vec<f64>) -> String {
    let sorted = sorted(values);
    let Some(middle) = sorted.get(sorted.len() / 2) else { return "-".into() };
    let digits = if *middle < 100.0 { 1 } else { 0 };
    spread(sorted, digits)
}
