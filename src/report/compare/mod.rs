//! Several runs beside each other: their errors, what differs between them, and how far chance goes.

mod page;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::run::Run;
use crate::error::Result;
use crate::publish::publish_bytes;
use crate::recipe::keys;
use crate::train::log::Line;

/// The runs' errors as text.
pub fn table(runs: &[PathBuf]) -> Result<String> {
    Ok(table::text(&Comparison::read(runs)?))
}

/// Writes a page that compares the runs, by default `compare.html` beside the first, and says where.
pub fn page(runs: &[PathBuf], out: Option<&Path>) -> Result<PathBuf> {
    let comparison = Comparison::read(runs)?;
    let beside = || runs[0].parent().unwrap_or(Path::new("")).join("compare.html");
    let page = out.map_or_else(beside, Path::to_path_buf);
    publish_bytes(page::html(&comparison).as_bytes(), &page)?;
    Ok(page)
}

/// Runs, each with a name that no other has.
#[derive(Debug)]
pub(super) struct Comparison {
    pub runs: Vec<Run>,
}

impl Comparison {
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        Ok(Self::of(paths.iter().map(|path| Run::read(path)).collect::<Result<_>>()?))
    }

    fn of(mut runs: Vec<Run>) -> Self {
        let num_of = |name: &str| runs.iter().filter(|run| run.name == name).count();
        let names: Vec<_> = runs
            .iter()
            .map(|run| if num_of(&run.name) > 1 { run.path.display().to_string() } else { run.name.clone() })
            .collect();
        for (run, name) in runs.iter_mut().zip(names) {
            run.name = name;
        }
        Self { runs }
    }

    /// Runs that differ by their seed alone, and whose last validation is of the same epoch: two or more.
    fn seeds(&self) -> Vec<Seeds<'_>> {
        let mut groups: BTreeMap<String, Vec<(&Run, &Line)>> = BTreeMap::new();
        for run in &self.runs {
            if let Some(last) = run.last_validation() {
                groups.entry(identity(run, last.epoch)).or_default().push((run, last));
            }
        }
        // In the order of their first runs.
        let mut groups: Vec<_> = groups.into_values().filter(|runs| runs.len() > 1).collect();
        let place = |run: &Run| self.runs.iter().position(|other| std::ptr::eq(other, run));
        groups.sort_by_key(|runs| place(runs[0].0));
        groups.into_iter().map(Seeds::of).collect()
    }

    /// Keys whose values differ between the runs, with the value of each.
    fn differences(&self) -> Vec<(String, Vec<String>)> {
        let settings: Vec<BTreeMap<String, String>> = self.runs.iter().map(all_keys).collect();
        let keys: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
        let values = |key| settings.iter().map(|own| own.get(key).cloned().unwrap_or_default()).collect();
        let rows = keys.into_iter().map(|key| (key.clone(), values(key)));
        rows.filter(|(_, values): &(String, Vec<String>)| values.iter().any(|value| *value != values[0])).collect()
    }
}

/// Everything that makes a run but its seed, and how far it came.
fn identity(run: &Run, epoch: u32) -> String {
    let mut keys = all_keys(run);
    keys.remove("train.seed");
    format!("{keys:?} {epoch}")
}

/// The recipe's keys, and what of the circumstances may change what is learned.
fn all_keys(run: &Run) -> BTreeMap<String, String> {
    let pair = |line: String| line.split_once(" = ").map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut keys: BTreeMap<_, _> = keys::lines(&run.recipe.settings).into_iter().filter_map(pair).collect();
    for key in ["dataset", "precision", "init"] {
        keys.extend(run.told(key).map(|value| (key.to_owned(), value.to_owned())));
    }
    keys
}

/// Runs that differ by their seed alone.
#[derive(Debug)]
struct Seeds<'a> {
    names: Vec<&'a str>,
    top1_error: Spread,
    top5_error: Spread,
}

impl<'a> Seeds<'a> {
    fn of(runs: Vec<(&'a Run, &Line)>) -> Self {
        let spread = |error: fn(&Line) -> Option<f64>| {
            Spread::of(&runs.iter().filter_map(|(_, last)| error(last)).collect::<Vec<_>>())
        };
        let [top1_error, top5_error] = [spread(|line| line.top1_error), spread(|line| line.top5_error)];
        Self { names: runs.iter().map(|(run, _)| run.name.as_str()).collect(), top1_error, top5_error }
    }
}

/// The mean of some values, and their standard deviation as an estimate for all seeds (divided by n - 1).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let num = values.len() as f64;
        let mean = values.iter().sum::<f64>() / num;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, deviation: (squares / (num - 1.0)).sqrt() }
    }

    fn percent(&self) -> String {
        format!("{:.2}% ± {:.2}", 100.0 * self.mean, 100.0 * self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{run_of, validation};
    use super::*;

    fn comparison() -> Comparison {
        let last = |error| vec![validation(4, 0, 0.9), validation(8, 1, error)];
        Comparison::of(vec![
            run_of("wide", &["model.width=0.5"], last(0.125)),
            run_of("a", &["train.seed=1"], last(0.25)),
            run_of("b", &["train.seed=2"], last(0.75)),
            run_of("stopped", &["train.seed=3"], vec![validation(4, 0, 0.9)]),
            run_of("new", &["train.seed=4"], Vec::new()),
        ])
    }

    #[test]
    fn runs_that_differ_by_their_seed_have_a_mean_and_a_deviation() {
        let comparison = comparison();
        let [seeds] = &comparison.seeds()[..] else { panic!("one group") };
        assert_eq!(seeds.names, ["a", "b"]);
        assert_eq!(seeds.top1_error, Spread { mean: 0.5, deviation: 0.125_f64.sqrt() });
        assert_eq!(seeds.top5_error.mean, 0.125);
    }

    #[test]
    fn differences_are_the_keys_that_not_all_runs_share() {
        let differences = comparison().differences();
        let keys: Vec<_> = differences.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["model.width", "train.seed"]);
        assert_eq!(differences[0].1, ["0.5", "0.25", "0.25", "0.25", "0.25"]);
    }

    #[test]
    fn the_table_has_a_row_for_each_run_and_group() {
        let text = table::text(&comparison());
        for expected in ["wide", "12.50%", "stopped", "0 of 20", "new", "–", "a, b", "50.00% ± 35.36"] {
            assert!(text.contains(expected), "{expected} in:\n{text}");
        }
    }

    #[test]
    fn the_page_escapes_names_and_shows_all_runs() {
        let comparison =
            Comparison::of(vec![run_of("<a&\"b>", &[], vec![validation(4, 0, 0.5)]), run_of("c", &[], Vec::new())]);
        let html = page::html(&comparison);
        assert!(!html.contains("<a&") && html.contains("&lt;a&amp;&quot;b&gt;") && html.contains("50.00%"), "{html}");
    }
}
