//! The place of a class among the scores of a sample: what top-1 and top-5 count by, for every backend and any number
//! of views.

/// Classes ranked above the label's. Of equal scores the lower class ranks higher, so that exactly one class is first;
/// nothing ranks below a score that is not a number, so such a score is never counted as right.
pub fn rank<T: PartialOrd + Copy>(scores: &[T], label: usize) -> usize {
    let own = scores[label];
    let is_below = |class: usize, score: T| score < own || (score == own && class >= label);
    scores.iter().enumerate().filter(|(class, score)| !is_below(*class, **score)).count()
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_count_the_likelier_and_the_earlier_of_equals() {
        let scores = [0.1, 0.4, 0.1, 0.4];
        assert_eq!([0, 1, 2, 3].map(|label| rank(&scores, label)), [2, 0, 3, 1]);
    }

    #[test]
    fn what_is_not_a_number_is_never_first() {
        assert_eq!(rank(&[f64::NAN, f64::NAN], 0), 2);
    }
}
