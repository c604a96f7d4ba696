//! Several measurements of one thing: their middle and how far they lie apart.

use serde::{Deserialize, Serialize};

/// The median of several measurements, and their spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The middle one; of an even number, the higher of the two in the middle.
    pub median: f64,
    /// The lowest measurement.
    pub min: f64,
    /// The highest measurement.
    pub max: f64,
    /// How many measurements there were.
    pub n: usize,
}

impl Rates {
    /// Of at least one measurement.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        Some(Self { median: sorted[sorted.len() / 2], min, max, n: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::Rates;

    #[test]
    fn the_middle_and_the_ends_are_found_whatever_the_order() {
        let rates = Rates { median: 3.0, min: 1.0, max: 9.0, n: 3 };
        assert_eq!(Rates::of([9.0, 1.0, 3.0]), Some(rates));
        assert_eq!(Rates::of([]), None);
    }
}
