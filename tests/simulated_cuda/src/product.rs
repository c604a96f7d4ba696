//! Matrix products in f32, bit-identical for any number of threads.

use rayon::prelude::*;

/// A matrix at an address: element (row, column) lies `row * row_stride + column * column_stride` numbers behind it.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub values: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// `output[row * output_stride + column] = sum of left(row, i) * right(i, column)`, for one thread.
///
/// Panics if a matrix is too short for its shape.
pub fn product(
    rows: usize,
    columns: usize,
    depth: usize,
    left: Matrix,
    right: Matrix,
    output: &mut [f32],
    output_stride: usize,
) {
    let last = |rows: usize, columns: usize, row_stride: usize, column_stride: usize| {
        (rows - 1) * row_stride + (columns - 1) * column_stride
    };
    assert!(last(rows, depth, left.row_stride, left.column_stride) < left.values.len());
    assert!(last(depth, columns, right.row_stride, right.column_stride) < right.values.len());
    assert!(last(rows, columns, output_stride, 1) < output.len() && output_stride >= columns);
    // SAFETY: the assertions say that every element that the product touches lies in its slice.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            output.as_mut_ptr(),
            1,
            output_stride as isize,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows and columns that one task computes: constants, so that the work is cut in the same way everywhere.
const TILE: (usize, usize) = (128, 256);

/// As `product`, on all threads, with a dense output.
pub fn parallel_product(rows: usize, columns: usize, depth: usize, left: Matrix, right: Matrix) -> Vec<f32> {
    let starts = |all: usize, step: usize| (0..all).step_by(step);
    let tiles: Vec<_> =
        starts(rows, TILE.0).flat_map(|row| starts(columns, TILE.1).map(move |column| (row, column))).collect();
    let compute = |(row, column): (usize, usize)| {
        let (tile_rows, tile_columns) = (TILE.0.min(rows - row), TILE.1.min(columns - column));
        let left = Matrix { values: &left.values[row * left.row_stride..], ..left };
        let right = Matrix { values: &right.values[column * right.column_stride..], ..right };
        let mut tile = vec![0.0; tile_rows * tile_columns];
        product(tile_rows, tile_columns, depth, left, right, &mut tile, tile_columns);
        (row, column, tile_columns, tile)
    };
    let tiles: Vec<_> = tiles.into_par_iter().map(compute).collect();
    let mut output = vec![0.0; rows * columns];
    for (row, column, tile_columns, tile) in tiles {
        for (index, line) in tile.chunks(tile_columns).enumerate() {
            let start = (row + index) * columns + column;
            output[start..start + tile_columns].copy_from_slice(line);
        }
    }
    output
}
