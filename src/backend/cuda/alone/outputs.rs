//! What a case computed, beside what it should have.

use super::values::largest;
use crate::backend::Compared;
use crate::backend::compared::Axis;
use crate::backend::cuda::real::Real;

/// What two runs of a case found.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Each tensor that it computed; those of the second run where its bits are others.
    pub compared: Vec<Compared>,
    /// What a library refused to compute, and training does without.
    pub refused: Option<String>,
}

/// The tensors of one run.
#[derive(Debug, Default)]
pub struct Outputs {
    tensors: Vec<Output>,
    refused: Option<String>,
}

#[derive(Debug)]
struct Output {
    name: String,
    axes: Vec<Axis>,
    ours: Vec<f64>,
    theirs: Vec<f64>,
    tolerance: Tolerance,
}

/// What a value may be off: a part of itself, and where terms cancel something whatever it is.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

impl Outputs {
    /// `name` is what it is, ` of `, and for which input; what comes before is in the record's table.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        axes: &[Axis],
        ours: Vec<f64>,
        theirs: Vec<f64>,
        tolerance: Tolerance,
    ) {
        self.tensors.push(Output { name: name.into(), axes: axes.to_vec(), ours, theirs, tolerance });
    }

    pub fn refused(&mut self, what: String) {
        self.refused.get_or_insert(what);
    }

    /// Beside the expected values; beside another run's, which must be the same.
    pub fn compared(self, again: &Self) -> Ran {
        let mut compared = Vec::with_capacity(self.tensors.len());
        for (first, second) in self.tensors.iter().zip(&again.tensors) {
            let Output { name, axes, ours, theirs, tolerance } = first;
            compared.push(Compared::by_value(name.clone(), axes, ours, theirs, |value| tolerance.allowed(value)));
            let name = format!("second run's {name}");
            let repeated = Compared::by_value(name, axes, &second.ours, ours, |_| 0.0);
            compared.extend((!repeated.is_within()).then_some(repeated));
        }
        Ran { compared, refused: self.refused }
    }
}

impl Tolerance {
    /// No bit may be another.
    pub const EXACT: Self = Self { relative: 0.0, absolute: 0.0 };

    /// Dozens of roundings of 2^-24, which stay below 64 of them, and approximations of 2^-22.
    pub const ARITHMETIC: f64 = 64.0 / (1 << 24) as f64;

    /// bf16 keeps eight bits: half of the last is 2^-8 of the first.
    pub const BF16: f64 = 1.0 / (1 << 8) as f64;

    /// Of one rounding to `R` behind arithmetic in f32. Where terms cancel, a part of the largest value is left.
    pub fn rounded<R: Real>(expected: &[f64]) -> Self {
        Self { absolute: Self::ARITHMETIC * largest(expected), ..Self::rounded_within::<R>(0.0) }
    }

    /// The same, where terms may leave so much.
    pub fn rounded_within<R: Real>(absolute: f64) -> Self {
        let rounding = if R::IS_MASTER { 0.0 } else { Self::BF16 };
        Self { relative: Self::ARITHMETIC + rounding, absolute }
    }

    /// Of a sum of `count` terms, each of them up to `largest` and off by its arithmetic, to either side: the sum is by
    /// the root of their number.
    pub fn sum<R: Real>(count: usize, largest: f64) -> Self {
        Self::rounded_within::<R>(Self::ARITHMETIC * largest * (count as f64).sqrt())
    }

    fn allowed(&self, expected: f64) -> f64 {
        self.relative * expected.abs() + self.absolute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bits_in_the_second_run_differ_though_both_are_near_enough() {
        let run = |value: f64| {
            let mut outputs = Outputs::default();
            let tolerance = Tolerance { relative: 0.1, absolute: 0.0 };
            outputs.push("output of (2)", &[("n", 0)], vec![1.0, value], vec![1.0, 2.0], tolerance);
            outputs
        };
        assert!(run(2.1).compared(&run(2.1)).compared.iter().all(Compared::is_within));
        let compared = run(2.1).compared(&run(2.0)).compared;
        let wrong: Vec<_> = compared.iter().filter(|one| !one.is_within()).collect();
        assert_eq!(wrong.len(), 1, "{compared:?}");
        assert_eq!((wrong[0].tensor.as_str(), wrong[0].num_wrong), ("second run's output of (2)", 1));
    }
}
