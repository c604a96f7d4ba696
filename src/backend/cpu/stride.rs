//! Every n-th value of a line: what a stride of pooling or of a convolution leaves of a row.

use super::real::Real;

/// Fills `to` from every `stride`-th value, beginning with the first. The paper's strides are constants, so that the
/// compiler makes them shuffles.
#[inline(always)]
pub fn take_every<T: Real>(stride: usize, from: &[T], to: &mut [T]) {
    match stride {
        2 => take_every_nth::<T, 2>(from, to),
        4 => take_every_nth::<T, 4>(from, to),
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
    }
}

#[inline(always)]
fn take_every_nth<T: Real, const N: usize>(from: &[T], to: &mut [T]) {
    let (groups, rest) = from.as_chunks::<N>();
    for (to, group) in to.iter_mut().zip(groups) {
        *to = group[0];
    }
    if let (Some(to), Some(from)) = (to.get_mut(groups.len()), rest.first()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nth_value_is_taken_also_from_the_last_group() {
        let from: Vec<_> = (0..11).map(f64::from).collect();
        for stride in 1..=5 {
            let expected: Vec<_> = from.iter().copied().step_by(stride).collect();
            let mut to = vec![f64::NAN; expected.len()];
            take_every(stride, &from, &mut to);
            assert_eq!(to, expected);
            take_every(stride, &from, &mut to[..1]);
        }
    }
}
