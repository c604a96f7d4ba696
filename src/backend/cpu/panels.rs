//! Packing a factor of a product into panels: narrow strips whose values stand in the order in which the product reads
//! them. Of left (rows, depth) a panel holds LEFT rows, of right (depth, columns) RIGHT columns, either as (depth,
//! WIDTH): the product of two panels then reads both from beginning to end.

use std::array::from_fn;

use super::real::Real;

/// Rows of a panel of the left factor.
pub const LEFT: usize = 6;
/// Columns of a panel of the right factor: 6 x 16 sums fill twelve of AVX2's sixteen registers.
pub const RIGHT: usize = 16;

/// Panels behind one another: (num_panels, depth, WIDTH), and the part of their depth that a product takes.
#[derive(Clone, Copy)]
pub struct Panels<'a, T, const WIDTH: usize> {
    values: &'a [[T; WIDTH]],
    depth: usize,
    start: usize,
    end: usize,
}

impl<'a, T, const WIDTH: usize> Panels<'a, T, WIDTH> {
    /// The panels of `width` rows or columns in `values`.
    pub fn new(values: &'a [T], width: usize, depth: usize) -> Self {
        let (values, _) = values[..panels_values::<WIDTH>(width, depth)].as_chunks();
        Self { values, depth, start: 0, end: depth }
    }

    pub fn part(self, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= self.depth, "{start}..{end} of {}", self.depth);
        Self { start, end, ..self }
    }

    /// Each panel's part, (depth, WIDTH).
    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = &'a [[T; WIDTH]]> + use<'a, T, WIDTH> {
        let (start, end) = (self.start, self.end);
        self.values.chunks_exact(self.depth).map(move |panel| &panel[start..end])
    }

    /// Each panel on its own.
    pub fn each(&self) -> impl Iterator<Item = Self> + use<'a, T, WIDTH> {
        let Self { depth, start, end, .. } = *self;
        self.values.chunks_exact(depth).map(move |values| Self { values, depth, start, end })
    }

    pub fn depth(&self) -> usize {
        self.end - self.start
    }
}

/// Values of the panels of `width` rows or columns, padded to whole panels.
pub const fn panels_values<const WIDTH: usize>(width: usize, depth: usize) -> usize {
    width.next_multiple_of(WIDTH) * depth
}

/// One panel from up to WIDTH rows of a matrix whose rows are contiguous and `stride` values apart; missing rows are
/// zero.
#[inline(always)]
pub fn pack_rows<T: Real, const WIDTH: usize>(rows: &[T], num_rows: usize, stride: usize, panel: &mut [[T; WIDTH]]) {
    let depth = panel.len();
    if num_rows >= WIDTH {
        let rows: [&[T]; WIDTH] = from_fn(|row| &rows[row * stride..][..depth]);
        for (at, to) in panel.iter_mut().enumerate() {
            *to = from_fn(|row| rows[row][at]);
        }
        return;
    }
    panel.as_flattened_mut().fill(T::ZERO);
    for row in 0..num_rows {
        for (to, value) in panel.iter_mut().zip(&rows[row * stride..][..depth]) {
            to[row] = *value;
        }
    }
}

/// One panel from up to WIDTH neighbouring columns of a matrix whose rows are `stride` values apart; missing columns
/// are zero.
#[inline(always)]
pub fn pack_columns<T: Real, const WIDTH: usize>(
    columns: &[T],
    num_columns: usize,
    stride: usize,
    panel: &mut [[T; WIDTH]],
) {
    for (row, to) in panel.iter_mut().enumerate() {
        let values = &columns[row * stride..][..num_columns.min(WIDTH)];
        match values.first_chunk() {
            Some(values) => *to = *values,
            None => {
                to.fill(T::ZERO);
                to[..values.len()].copy_from_slice(values);
            }
        }
    }
}
