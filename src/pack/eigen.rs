//! Eigenvalues and eigenvectors of a symmetric 3 x 3 matrix, after Jacobi (1846).

/// Enough for any matrix: convergence is quadratic, and five sweeps usually do.
const NUM_SWEEPS: usize = 30;

/// The eigenvalues in descending order and their unit eigenvectors. A vector and its opposite serve equally; the one
/// whose largest component is positive is chosen, so that results are reproducible.
pub fn symmetric_eigen(mut a: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    // Rows become the eigenvectors.
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..NUM_SWEEPS {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            rotate(&mut a, &mut vectors, p, q);
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    (order.map(|i| a[i][i]), order.map(|i| with_sign(vectors[i])))
}

/// Rotates the plane of axes `p` and `q` so that `a[p][q]` becomes zero (Golub and Van Loan, section 8.5).
fn rotate(a: &mut [[f64; 3]; 3], vectors: &mut [[f64; 3]; 3], p: usize, q: usize) {
    if a[p][q] == 0.0 {
        return;
    }
    let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let tangent = if tau >= 0.0 { 1.0 / (tau + tau.hypot(1.0)) } else { 1.0 / (tau - tau.hypot(1.0)) };
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    for row in a.iter_mut() {
        (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
    }
    for matrix in [a, vectors] {
        let (in_p, in_q) = (matrix[p], matrix[q]);
        matrix[p] = std::array::from_fn(|column| cosine * in_p[column] - sine * in_q[column]);
        matrix[q] = std::array::from_fn(|column| sine * in_p[column] + cosine * in_q[column]);
    }
}

fn with_sign(vector: [f64; 3]) -> [f64; 3] {
    let largest = vector
        .into_iter()
        .fold(0.0, |largest: f64, part| if part.abs() > largest.abs() + 1e-9 { part } else { largest });
    if largest < 0.0 { vector.map(|part| -part) } else { vector }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_diagonal_matrix_is_sorted() {
        let (values, vectors) = symmetric_eigen([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 2.0]]);
        assert_eq!(values, [3.0, 2.0, 1.0]);
        assert_eq!(vectors, [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
    }

    proptest! {
        #[test]
        fn vectors_times_values_give_the_matrix_back(parts in prop::array::uniform6(-1e4..1e4)) {
            let [a, b, c, d, e, f] = parts;
            let matrix = [[a, b, c], [b, d, e], [c, e, f]];
            let (values, vectors) = symmetric_eigen(matrix);
            prop_assert!(values[0] >= values[1] && values[1] >= values[2]);
            for i in 0..3 {
                for j in 0..3 {
                    let again: f64 = (0..3).map(|k| values[k] * vectors[k][i] * vectors[k][j]).sum();
                    prop_assert!((again - matrix[i][j]).abs() < 1e-8, "{again} for {}", matrix[i][j]);
                }
            }
        }
    }
}
