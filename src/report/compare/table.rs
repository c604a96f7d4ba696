//! The comparison as text for a terminal.

use super::super::page::percent_of;
use super::super::sections::header::images_per_second;
use super::Comparison;

/// Cells from left to right; the first column is flush left, the others right.
type Rows = Vec<Vec<String>>;

pub(super) fn text(comparison: &Comparison) -> String {
    let mut text = columns(&results(comparison));
    let seeds = comparison.seeds();
    if !seeds.is_empty() {
        let head = ["runs that differ by their seed alone", "top-1 error", "top-5 error"].map(String::from).to_vec();
        let rows = seeds
            .iter()
            .map(|seeds| vec![seeds.names.join(", "), seeds.top1_error.percent(), seeds.top5_error.percent()]);
        text += &format!("\n\n{}", columns(&std::iter::once(head).chain(rows).collect::<Rows>()));
    }
    text
}

/// A head, and a row for each run.
pub(super) fn results(comparison: &Comparison) -> Rows {
    let head = ["run", "recipe", "epochs", "top-1 error", "top-5 error", "best top-1", "after epoch", "images/s"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for run in &comparison.runs {
        let (last, best) = (run.last_validation(), run.best_validation());
        rows.push(vec![
            run.name.clone(),
            run.recipe.name.clone(),
            format!("{} of {}", run.num_epochs(), run.recipe.settings.train.epochs),
            percent_of(last.and_then(|line| line.top1_error)),
            percent_of(last.and_then(|line| line.top5_error)),
            percent_of(best.and_then(|line| line.top1_error)),
            best.map_or_else(|| "–".into(), |line| (line.epoch + 1).to_string()),
            images_per_second(run).map_or_else(|| "–".into(), |rate| format!("{rate:.0}")),
        ]);
    }
    rows
}

fn columns(rows: &Rows) -> String {
    let width_of = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width_of).collect();
    let line = |row: &Vec<String>| {
        let cell = |(column, cell): (usize, &String)| {
            let width = widths[column];
            if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") }
        };
        row.iter().enumerate().map(cell).collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
