//! Products of matrices, on one thread, without memory of their own: all of the network's arithmetic but a few passes.
//!
//! destination[row][column] = the sum over depth of left[row][depth] * right[depth][column] (`naive` in the tests
//! below). The idea is to keep LEFT x RIGHT sums in registers through the whole depth:
//!
//! ```text
//! for each panel of the right factor, for each panel of the left:
//!     sums (LEFT, RIGHT) = 0
//!     for each step of the depth: sums[i][j] += left[i] * right[j]
//!     store the sums, or add them, to their tile of the destination
//! ```
//!
//! The order of the sums depends on the shape alone. A processor without fused multiply-add rounds twice where others
//! round once, so its bits differ.

use super::panels::{LEFT, Panels, RIGHT};
use super::real::Real;
use super::wide::Avx2;

/// Whether every processor of the target has fused multiply-add; where it is no instruction, it is a slow call.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Where a product goes: (rows, columns), whose rows begin `stride` values apart.
pub struct Destination<'a, T> {
    pub values: &'a mut [T],
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

/// What becomes of the destination's old values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// They are replaced without being read.
    Nothing,
    /// The product is added to them.
    Old,
}

impl Onto {
    /// The first of several sums replaces, the others add.
    pub fn nothing_at_first(index: usize) -> Self {
        if index == 0 { Self::Nothing } else { Self::Old }
    }
}

/// destination = left (rows, depth) * right (depth, columns), both in panels.
pub fn multiply_panels<T: Real>(
    left: Panels<'_, T, LEFT>,
    right: Panels<'_, T, RIGHT>,
    mut destination: Destination<'_, T>,
    onto: Onto,
) {
    assert_eq!(left.depth(), right.depth(), "the factors' depths");
    match Avx2::detect() {
        Some(avx2) => avx2.run(
            #[inline(always)]
            || panels::<T, true>(left, right, &mut destination, onto),
        ),
        None => panels::<T, FUSED>(left, right, &mut destination, onto),
    }
}

/// a * b + sum, in one rounding where the processor has an instruction for it.
#[inline(always)]
fn mul_add<T: Real, const FUSED: bool>(a: T, b: T, sum: T) -> T {
    if FUSED { a.mul_add(b, sum) } else { a * b + sum }
}

#[inline(always)]
fn panels<T: Real, const FUSED: bool>(
    left: Panels<'_, T, LEFT>,
    right: Panels<'_, T, RIGHT>,
    destination: &mut Destination<'_, T>,
    onto: Onto,
) {
    for (column, right) in (0..destination.columns).step_by(RIGHT).zip(right.iter()) {
        for (row, left) in (0..destination.rows).step_by(LEFT).zip(left.iter()) {
            store(&outer::<T, FUSED>(left, right), row, column, destination, onto);
        }
    }
}

/// The product of a panel (depth, LEFT), transposed, and a panel (depth, RIGHT).
#[inline(always)]
fn outer<T: Real, const FUSED: bool>(left: &[[T; LEFT]], right: &[[T; RIGHT]]) -> [[T; RIGHT]; LEFT] {
    let mut sums = [[T::ZERO; RIGHT]; LEFT];
    for (a, b) in left.iter().zip(right) {
        for i in 0..LEFT {
            for j in 0..RIGHT {
                sums[i][j] = mul_add::<T, FUSED>(a[i], b[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Writes sums to their place; those beyond the destination's edge are dropped.
#[inline(always)]
fn store<T: Real, const R: usize, const C: usize>(
    sums: &[[T; C]; R],
    row: usize,
    column: usize,
    destination: &mut Destination<'_, T>,
    onto: Onto,
) {
    let columns = C.min(destination.columns - column);
    for (index, sums) in sums.iter().enumerate().take(destination.rows - row) {
        let to = &mut destination.values[(row + index) * destination.stride + column..][..columns];
        match (to.first_chunk_mut::<C>(), onto) {
            (Some(to), Onto::Nothing) => *to = *sums,
            (Some(to), Onto::Old) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += *sum),
            (None, Onto::Nothing) => to.copy_from_slice(&sums[..columns]),
            (None, Onto::Old) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += *sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::panels::{pack_columns, pack_rows, panels_values};
    use crate::backend::cpu::testing::{assert_close, draws};

    /// Whole panels, less than one, and more than one; depths with and without a rest.
    const SHAPES: [(usize, usize, usize); 4] = [(12, 32, 8), (1, 1, 1), (5, 9, 3), (13, 37, 21)];

    fn naive(m: usize, n: usize, k: usize, left: &[f64], right: &[f64], old: &[f64]) -> Vec<f64> {
        let dot = |row: usize, column: usize| (0..k).map(|i| left[row * k + i] * right[i * n + column]).sum::<f64>();
        (0..m * n).map(|at| dot(at / n, at % n) + old[at]).collect()
    }

    fn whole(values: &mut [f64], rows: usize, columns: usize) -> Destination<'_, f64> {
        Destination { values, rows, columns, stride: columns }
    }

    fn transposed(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
        (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
    }

    #[test]
    fn products_of_panels_are_the_sums_they_stand_for() {
        for (m, n, k) in SHAPES {
            let (left, right, old) = (draws(m * k, 1), draws(k * n, 2), draws(m * n, 3));
            let mut by_rows = vec![f64::NAN; panels_values::<LEFT>(m, k)];
            let mut by_columns = by_rows.clone();
            let left_t = transposed(&left, m, k);
            for (index, row) in (0..m).step_by(LEFT).enumerate() {
                let at = index * k * LEFT..(index + 1) * k * LEFT;
                pack_rows::<_, LEFT>(&left[row * k..], m - row, k, by_rows[at.clone()].as_chunks_mut().0);
                pack_columns::<_, LEFT>(&left_t[row..], m - row, m, by_columns[at].as_chunks_mut().0);
            }
            assert_eq!(by_rows, by_columns);
            let mut packed = vec![f64::NAN; panels_values::<RIGHT>(n, k)];
            for (index, column) in (0..n).step_by(RIGHT).enumerate() {
                let panel = packed[index * k * RIGHT..(index + 1) * k * RIGHT].as_chunks_mut().0;
                pack_columns::<_, RIGHT>(&right[column..], n - column, n, panel);
            }
            let (left_panels, right_panels) = (Panels::new(&by_rows, m, k), Panels::new(&packed, n, k));
            let mut product = old.clone();
            multiply_panels(left_panels, right_panels, whole(&mut product, m, n), Onto::Old);
            assert_close("panels", &product, &naive(m, n, k, &left, &right, &old));
            // In two parts of the depth, the first onto nothing.
            let half = k / 2;
            let first = (left_panels.part(0, half), right_panels.part(0, half));
            multiply_panels(first.0, first.1, whole(&mut product, m, n), Onto::Nothing);
            let second = (left_panels.part(half, k), right_panels.part(half, k));
            multiply_panels(second.0, second.1, whole(&mut product, m, n), Onto::Old);
            assert_close("parts", &product, &naive(m, n, k, &left, &right, &vec![0.0; m * n]));
        }
    }
}
