//! What benches are told and what they say: numbers on the command line, and medians with their spread.

/// The word after `name` on the command line.
pub fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

pub fn number(name: &str, default: usize) -> usize {
    argument(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} {text}: not a whole number")))
}

/// Median (lowest to highest).
pub fn spread(values: impl IntoIterator<Item = f64>, digits: usize) -> String {
    let sorted = sorted(values);
    let (low, middle, high) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
}

pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}
