//! Images that the network sees alike: the nearest by Euclidean distance of their activations (the paper's section
//! 6.1).

use super::evaluation::Features;

/// The `num` images nearest to image `query`, itself left out, with their distances, rising.
pub(super) fn nearest(features: &Features, query: usize, num: usize) -> Vec<(usize, f64)> {
    let own = features.rows().nth(query).expect("the query is among the images with activations");
    let distance = |row: &[f32]| {
        let squares = row.iter().zip(own).map(|(theirs, ours)| f64::from(theirs - ours).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let others = features.rows().enumerate().filter(|(index, _)| *index != query);
    let mut distances: Vec<_> = others.map(|(index, row)| (index, distance(row))).collect();
    distances.sort_by(|(a, near), (b, far)| near.total_cmp(far).then(a.cmp(b)));
    distances.truncate(num);
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_the_image_itself_not_at_all() {
        let values = vec![0.0, 0.0, 3.0, 4.0, 0.0, 1.0, 0.0, -1.0];
        let features = Features { layer: "fc7".into(), width: 2, values };
        assert_eq!(nearest(&features, 0, 2), [(2, 1.0), (3, 1.0)]);
        assert_eq!(nearest(&features, 0, 9), [(2, 1.0), (3, 1.0), (1, 5.0)]);
    }
}
