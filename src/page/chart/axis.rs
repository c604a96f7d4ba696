//! An axis: which values it spans, where they lie, and which of them get a tick.

/// How many ticks an axis should have, roughly.
const NUM_TICKS: f64 = 5.0;

/// How an axis is divided, and what it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From the smallest value to the largest.
    Fitted,
    /// From zero to the largest value.
    FromZero,
    /// By powers of ten, from the smallest value to the largest. The values are above zero.
    Logarithmic,
}

/// An axis between two places of a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    /// The smallest and the largest value, or their logarithms to the base 10.
    span: (f64, f64),
    /// Where these two lie.
    places: (f64, f64),
}

impl Axis {
    /// An axis that has a place for each of the values, all finite.
    pub fn new(scale: Scale, values: impl Iterator<Item = f64>, first: f64, last: f64) -> Self {
        let mut span = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            let value = if scale == Scale::Logarithmic { value.log10() } else { value };
            span = (span.0.min(value), span.1.max(value));
        }
        if span.0 > span.1 {
            span = (0.0, 1.0);
        }
        if scale == Scale::FromZero {
            span = (span.0.min(0.0), span.1.max(0.0));
        }
        if span.1 - span.0 <= f64::EPSILON * span.0.abs().max(span.1.abs()) {
            // One value alone lies in the middle, or zero at the bottom.
            let room = if span.0 == 0.0 { 1.0 } else { 0.5 * span.0.abs() };
            span = (if scale == Scale::FromZero { span.0 } else { span.0 - room }, span.1 + room);
        }
        Self { scale, span, places: (first, last) }
    }

    /// Where a value lies.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Logarithmic { value.log10() } else { value };
        let share = (value - self.span.0) / (self.span.1 - self.span.0);
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Round values inside of the span, rising.
    pub fn ticks(&self) -> Vec<f64> {
        let (first, last) = self.span;
        if self.scale == Scale::Logarithmic {
            let factors: &[f64] = match last - first {
                decades if decades > 2.0 => &[1.0],
                decades if decades > 0.5 => &[1.0, 2.0, 5.0],
                _ => return steps(10_f64.powf(first), 10_f64.powf(last)),
            };
            let powers = first.floor() as i32..=last.ceil() as i32;
            let values = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
            return values.filter(|value| (first - 1e-9..=last + 1e-9).contains(&value.log10())).collect();
        }
        steps(first, last)
    }
}

/// The multiples of a step of 1, 2 or 5 times a power of ten between two values.
fn steps(first: f64, last: f64) -> Vec<f64> {
    let rough = (last - first) / NUM_TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let room = 1e-9 * (last - first);
    let indices = ((first - room) / step).ceil() as i64..=((last + room) / step).floor() as i64;
    indices.map(|index| index as f64 * step).collect()
}

/// A number as an axis shows it: three significant digits or more, `20k`, `1.5M`, `1e-5`.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let trimmed = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match magnitude {
        0.0 => "0".into(),
        _ if magnitude >= 999_950.0 => format!("{}M", trimmed(value / 1e6, 2)),
        _ if magnitude >= 10_000.0 => format!("{}k", trimmed(value / 1e3, 1)),
        _ if magnitude >= 100.0 => trimmed(value, 0),
        _ if magnitude >= 1.0 => trimmed(value, 2),
        _ if magnitude >= 0.001 => trimmed(value, 4),
        _ => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(scale: Scale, values: &[f64]) -> Vec<String> {
        Axis::new(scale, values.iter().copied(), 0.0, 100.0).ticks().into_iter().map(number).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(Scale::FromZero, &[6.9, 3.0]), ["0", "2", "4", "6"]);
        assert_eq!(ticks(Scale::Fitted, &[0.0, 450_000.0]), ["0", "100k", "200k", "300k", "400k"]);
        assert_eq!(ticks(Scale::Fitted, &[40.7, 42.9]), ["41", "41.5", "42", "42.5"]);
        assert_eq!(ticks(Scale::Logarithmic, &[1e-5, 1e-2]), ["1e-5", "1e-4", "0.001", "0.01"]);
        assert_eq!(ticks(Scale::Logarithmic, &[0.9, 6.9]), ["1", "2", "5"]);
        assert_eq!(ticks(Scale::Logarithmic, &[100.0, 140.0]), ["100", "110", "120", "130", "140"]);
    }

    #[test]
    fn one_value_alone_has_a_place() {
        for (scale, place) in [(Scale::Fitted, 50.0), (Scale::FromZero, 100.0), (Scale::Logarithmic, 50.0)] {
            for value in [7.0, 1.0] {
                let axis = Axis::new(scale, std::iter::once(value), 0.0, 100.0);
                assert!((axis.place(value) - place).abs() < 1e-9, "{scale:?} {value}: {axis:?}");
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 42.5, 1234.0, 12_345.0, 1e6, 1_500_000.0, 0.00001, -3.0].map(number);
        assert_eq!(shown, ["0", "0.25", "42.5", "1234", "12.3k", "1M", "1.5M", "1e-5", "-3"]);
    }
}
