//! Where the time went.

use super::super::history::Times;
use super::super::page::{Column, Width, bar, count, note, seconds, section, table};
use super::super::run::Run;
use super::header::images_per_second;

/// Nothing where the log has no steps.
pub(in super::super) fn times(run: &Run) -> Option<String> {
    let times = Times::of(run);
    let total = times.total_seconds();
    if total <= 0.0 {
        return None;
    }
    let parts = [
        ("start, with the first checkpoint", times.start_seconds),
        ("steps", times.step_seconds),
        ("waiting for input", times.input_wait_seconds),
        ("validations", times.validation_seconds),
        ("checkpoints, and what is not logged", times.other_seconds),
    ];
    let row = |(name, part): &(&str, f64)| {
        vec![(*name).to_owned(), seconds(*part), format!("{:.1}%", 100.0 * part / total), bar(part / total)]
    };
    let columns = [Column::Text("part"), Column::Number("time"), Column::Number("share"), Column::Bar];
    let mut text = format!("{} in all, by log.jsonl", seconds(total));
    if times.num_processes > 1 {
        text += &format!(", in {} processes, one after the other", count(times.num_processes as u64));
    }
    if let Some(rate) = images_per_second(run) {
        text += &format!("; {rate:.0} images/s in the steps");
    }
    let rows: Vec<_> = parts.iter().map(row).collect();
    Some(section(
        "Where the time went",
        Width::Half,
        &(note(&format!("{text}.")) + &table("Time by part", &columns, &rows)),
    ))
}
