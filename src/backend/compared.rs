//! What two computations of one tensor differ in.

use std::fmt;

/// One tensor, computed by both.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// `conv1 output`, `fc8.weight gradient`, `loss`, ...
    pub tensor: String,
    /// How far it is off. Of a network's tensors: the L2 norm of the difference over that of the CPU's values. Of a
    /// kernel's or a product's: the difference of the value that is the nearest to what it may be off, or the furthest
    /// beyond.
    pub difference: f64,
    /// What the precision and the tensor's depth explain; what that value may be off.
    pub tolerance: f64,
    /// Whether a rounding may change it by more than a rounding: gradients, and what comes of them, go another way
    /// where a value on the edge changes sides of ReLU's 0 or places in a pooling window.
    pub jumps: bool,
    /// Values that differ by more than they may be off (those of a network's tensor by the tolerance of what they
    /// measure, their root mean square), or are no numbers where the CPU's are.
    pub num_wrong: usize,
    /// Values that are no numbers where the CPU's are.
    pub num_nan: usize,
    /// Values in all.
    pub num_values: usize,
    /// The first of the wrong ones.
    pub first_wrong: Option<WrongValue>,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct WrongValue {
    /// `n 0, c 17, y 3, x 26`: sample, channel, row and column; weights have an output and an input instead of the
    /// first two.
    pub place: String,
    /// The value that is wrong.
    pub ours: f32,
    /// The CPU's.
    pub theirs: f32,
}

/// A name, and how many there are of it; of the first one it does not matter.
pub(super) type Axis = (&'static str, usize);

impl Compared {
    /// Whether the difference is explained. What is not a number is not.
    pub fn is_within(&self) -> bool {
        self.difference <= self.tolerance
    }

    /// The difference as a part of what is explained; 1 and less is within.
    pub fn ratio(&self) -> f64 {
        if self.difference == 0.0 { 0.0 } else { (self.difference / self.tolerance).abs() }
    }

    /// No difference is explained yet, and none found.
    pub(super) fn new(tensor: String, difference: f64, num_values: usize) -> Self {
        Self {
            tensor,
            difference,
            tolerance: 0.0,
            jumps: false,
            num_wrong: 0,
            num_nan: 0,
            num_values,
            first_wrong: None,
        }
    }

    /// With the values that differ by more than `limit`.
    pub(super) fn with_values(mut self, limit: f64, axes: &[Axis], ours: &[f32], theirs: &[f32]) -> Self {
        for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let (ours, theirs) = (f64::from(*ours), f64::from(*theirs));
            if is_hidden(ours, theirs) || (ours - theirs).abs() > limit {
                self.found(axes, index, ours, theirs);
            }
        }
        self
    }

    /// Value by value: an expected one may be off by what `allowed` says. What is expected to be no number must be
    /// none.
    pub(super) fn by_value(
        tensor: String,
        axes: &[Axis],
        ours: &[f64],
        theirs: &[f64],
        allowed: impl Fn(f64) -> f64,
    ) -> Self {
        assert_eq!(ours.len(), theirs.len(), "values of {tensor}");
        let mut compared = Self::new(tensor, 0.0, ours.len());
        let mut worst = 0.0_f64;
        for (index, (ours, theirs)) in ours.iter().copied().zip(theirs.iter().copied()).enumerate() {
            let is_same = ours == theirs || (ours.is_nan() && theirs.is_nan());
            if is_same {
                continue;
            }
            let (difference, allowed) = ((ours - theirs).abs(), allowed(theirs));
            let ratio = (difference / allowed).abs();
            // What is not a number is worse than any.
            if ratio.total_cmp(&worst).is_ge() {
                worst = ratio;
                (compared.difference, compared.tolerance) = (difference, allowed);
            }
            if difference.is_nan() || difference > allowed {
                compared.found(axes, index, ours, theirs);
            }
        }
        compared
    }

    fn found(&mut self, axes: &[Axis], index: usize, ours: f64, theirs: f64) {
        self.num_wrong += 1;
        self.num_nan += usize::from(is_hidden(ours, theirs));
        if self.first_wrong.is_none() {
            let (place, ours, theirs) = (place(axes, index), ours as f32, theirs as f32);
            self.first_wrong = Some(WrongValue { place, ours, theirs });
        }
    }
}

/// `conv1 output: 3.1e-1 of 2.0e-2; 12 of 4096 values wrong, 1 NaN; first at n 0, c 3, y 1, x 2: 0.5, expected 0.25`.
impl fmt::Display for Compared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, difference, tolerance, num_wrong, num_nan, num_values, first_wrong, .. } = self;
        write!(out, "{tensor}: {difference:.1e} of {tolerance:.1e}; ")?;
        write!(out, "{num_wrong} of {num_values} values wrong, {num_nan} NaN")?;
        let Some(WrongValue { place, ours, theirs }) = first_wrong else { return Ok(()) };
        let at = if place.is_empty() { String::new() } else { format!("; first at {place}") };
        write!(out, "{at}: {ours:e}, expected {theirs:e}")
    }
}

/// Whether what should be a number is none.
fn is_hidden(ours: f64, theirs: f64) -> bool {
    ours.is_nan() && !theirs.is_nan()
}

/// Where a value lies, the last axis the fastest.
fn place(axes: &[Axis], index: usize) -> String {
    let mut rest = index;
    let mut named = Vec::with_capacity(axes.len());
    for (name, len) in axes.iter().skip(1).rev() {
        named.push(format!("{name} {}", rest % len));
        rest /= len;
    }
    named.extend(axes.first().map(|(name, _)| format!("{name} {rest}")));
    named.reverse();
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_counted_and_the_first_is_named_by_its_place() {
        let theirs: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let mut ours = theirs.clone();
        (ours[17], ours[20], ours[21]) = (17.5, f32::NAN, 21.05);
        // (2, 3, 2, 2)
        let axes = [("n", 0), ("c", 3), ("y", 2), ("x", 2)];
        let compared = Compared::new("a tensor".into(), 1.0, 24).with_values(0.1, &axes, &ours, &theirs);
        assert_eq!((compared.num_wrong, compared.num_nan, compared.num_values), (2, 1, 24));
        let first = WrongValue { place: "n 1, c 1, y 0, x 1".into(), ours: 17.5, theirs: 17.0 };
        assert_eq!(compared.first_wrong, Some(first));
        assert_eq!(place(&[], 0), "");
    }

    #[test]
    fn by_value_the_worst_is_the_one_furthest_beyond_what_it_may_be_off() {
        let theirs = [1.0, 100.0, f64::NAN, f64::INFINITY];
        let compared = |ours: [f64; 4]| {
            Compared::by_value("a tensor".into(), &[("n", 0)], &ours, &theirs, |expected| 0.5 * expected.abs())
        };
        let near = compared([1.25, 140.0, f64::NAN, f64::INFINITY]);
        assert_eq!((near.difference, near.tolerance, near.num_wrong), (40.0, 50.0, 0));
        assert!(near.is_within());
        let beyond = compared([2.0, 140.0, f64::NAN, f64::INFINITY]);
        assert_eq!((beyond.difference, beyond.tolerance, beyond.num_wrong), (1.0, 0.5, 1));
        let same = compared(theirs);
        assert!(same.is_within() && same.ratio() == 0.0, "{same:?}");
        // A number where there should be none is as wrong as none where there should be one, and is counted apart.
        for (ours, num_nan) in [([1.0, 100.0, 3.0, f64::INFINITY], 0), ([f64::NAN, 100.0, f64::NAN, f64::INFINITY], 1)]
        {
            let wrong = compared(ours);
            assert!(!wrong.is_within() && wrong.difference.is_nan(), "{wrong:?}");
            assert_eq!((wrong.num_wrong, wrong.num_nan), (1, num_nan), "{wrong:?}");
        }
    }
}
