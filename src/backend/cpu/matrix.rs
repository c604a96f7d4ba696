//! Matrices in slices, and their product: the one door to the `gemm` crate.

use super::real::Real;

/// A matrix in a slice: element (i, j) stands at i * row_stride + j * column_stride.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    values: &'a [T],
    shape: Shape,
}

/// A matrix in a slice that may be written.
pub struct MatrixMut<'a, T> {
    values: &'a mut [T],
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// What becomes of the destination's old values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// They are replaced, unread.
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

impl<'a, T> Matrix<'a, T> {
    /// (rows, columns), each row contiguous, `row_stride` values from row to row.
    pub fn new(values: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        let shape = Shape { rows, columns, row_stride, column_stride: 1 };
        shape.check(values.len());
        Self { values, shape }
    }

    /// (columns, rows) of the same values.
    pub fn transposed(self) -> Self {
        Self { shape: self.shape.transposed(), ..self }
    }
}

impl<'a, T> MatrixMut<'a, T> {
    /// (rows, columns), each row contiguous, `row_stride` values from row to row.
    pub fn new(values: &'a mut [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        let shape = Shape { rows, columns, row_stride, column_stride: 1 };
        shape.check(values.len());
        Self { values, shape }
    }
}

impl Shape {
    fn check(&self, len: usize) {
        let end = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1;
        assert!(self.columns <= self.row_stride || self.rows == 1, "rows of {} overlap", self.columns);
        assert!(end <= len, "({}, {}) ends at {end} of {len} values", self.rows, self.columns);
    }

    fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_stride: self.column_stride, column_stride: self.row_stride }
    }
}

/// destination (m, n) = left (m, k) * right (k, n), on this thread alone: the sums do not depend on the threads.
pub fn multiply<T: Real>(destination: MatrixMut<'_, T>, left: Matrix<'_, T>, right: Matrix<'_, T>, onto: Onto) {
    let (to, a, b) = (destination.shape, left.shape, right.shape);
    let (m, n, k) = (to.rows, to.columns, a.columns);
    assert!(
        a.rows == m && b.rows == k && b.columns == n,
        "({m}, {n}) = ({}, {}) * ({}, {})",
        a.rows,
        a.columns,
        b.rows,
        b.columns
    );
    // SAFETY: `Shape::check` held every element inside its slice when the matrices were made, with rows of the destination
    // that do not overlap; the destination is borrowed alone; `Real` is f32 or f64, both known to gemm.
    #[expect(unsafe_code, reason = "gemm takes pointers and strides")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination.values.as_mut_ptr(),
            to.column_stride as isize,
            to.row_stride as isize,
            onto == Onto::Old,
            left.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            right.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_orientations_are_the_sums_they_stand_for() {
        let (m, n, k) = (7, 5, 11);
        let left: Vec<f64> = (0..m * k).map(|i| (i % 13) as f64 - 6.0).collect();
        let right: Vec<f64> = (0..k * n).map(|i| (i % 7) as f64 - 3.0).collect();
        let expected: Vec<f64> = (0..m * n)
            .map(|at| (0..k).map(|i| left[at / n * k + i] * right[i * n + at % n]).sum::<f64>() + 1.0)
            .collect();
        let transpose = |values: &[f64], rows: usize, columns: usize| -> Vec<f64> {
            (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
        };
        let (left_t, right_t) = (transpose(&left, m, k), transpose(&right, k, n));
        let lefts = [Matrix::new(&left, m, k, k), Matrix::new(&left_t, k, m, m).transposed()];
        let rights = [Matrix::new(&right, k, n, n), Matrix::new(&right_t, n, k, k).transposed()];
        for a in lefts {
            for b in rights {
                let mut product = vec![1.0; m * n];
                multiply(MatrixMut::new(&mut product, m, n, n), a, b, Onto::Old);
                assert_eq!(product, expected);
            }
        }
    }
}
