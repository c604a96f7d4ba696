//! The record's tables: written from what was measured, and read again to be drawn.

use std::fmt::Write;

use crate::point::Measured;
use crate::report::{sorted, spread};

type Column = (&'static str, fn(&Measured) -> Option<f64>);

pub const AGAIN: &str = "images/s";
pub const AGAIN_CPU: &str = "images per CPU second";
pub const FIRST_CPU: &str = "first reading, per CPU second";
pub const END_TO_END: &str = "end to end, images/s";
pub const ANONYMOUS: &str = "anonymous, MB";
pub const OPEN: &str = "open, ms";

const SPEED: [Column; 6] = [
    (AGAIN, |measured| Some(measured.again_per_second)),
    (AGAIN_CPU, |measured| Some(measured.again_per_cpu_second)),
    (FIRST_CPU, |measured| measured.first_per_cpu_second),
    (END_TO_END, |measured| Some(measured.end_to_end_per_second)),
    (ANONYMOUS, |measured| Some(measured.anonymous_megabytes)),
    ("with mapped pages, MB", |measured| Some(measured.resident_megabytes)),
];

const OPENING: [Column; 2] = [
    (OPEN, |measured| Some(measured.open_milliseconds)),
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

/// What a cell says.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// A column of a record's table, beside the numbers that its rows begin with.
pub fn column(record: &str, grows: &str, name: &str) -> Vec<(usize, Option<Cell>)> {
    let start = format!("| {grows} |");
    let mut lines = record.lines().skip_while(|line| !line.starts_with(&start));
    let heads = cells(lines.next().unwrap_or_else(|| panic!("no table of {grows} in the record")));
    let at = heads.iter().position(|head| *head == name).unwrap_or_else(|| panic!("no {name} by {grows}"));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells);
    rows.map(|row| (row[0].parse().expect("a whole number"), read(row[at]))).collect()
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

fn read(cell: &str) -> Option<Cell> {
    let numbers = cell.split([' ', '(', ')']).filter_map(|word| word.parse().ok()).collect::<Vec<f64>>();
    let [median, lowest, highest] = numbers[..] else { return None };
    Some(Cell { median, lowest, highest })
}
