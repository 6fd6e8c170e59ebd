//! Medians and percentiles.

/// The middle of the values, or the mean of the two in the middle; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len().is_multiple_of(2)) {
        (None, _) => f64::NAN,
        (Some(upper), true) => f64::midpoint(*upper, sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(*upper)),
        (Some(value), false) => *value,
    }
}

/// The smallest value that is at least as large as `percent` % of all of them (nearest rank); NaN of none.
pub(crate) fn percentile(values: &[f64], percent: u8) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * usize::from(percent)).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The median of the quotients of each round: what slows the machine down slows both subjects of a round.
pub(crate) fn median_ratio(values: &[f64], bases: &[f64]) -> f64 {
    median(&values.iter().zip(bases).map(|(value, base)| value / base).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[3.0], 3.0)]
    #[case(&[3.0, 1.0, 2.0], 2.0)]
    #[case(&[4.0, 1.0, 3.0, 2.0], 2.5)]
    #[case(&[1.0, 1.0, 1.0, 1.0, 1000.0], 1.0)]
    fn the_median_is_the_middle_whatever_the_order(#[case] values: &[f64], #[case] expected: f64) {
        assert!((median(values) - expected).abs() < f64::EPSILON);
    }

    #[rstest]
    #[case(50, 50.0)]
    #[case(99, 99.0)]
    #[case(100, 100.0)]
    #[case(1, 1.0)]
    #[case(0, 1.0)]
    fn a_percentile_is_one_of_the_values(#[case] percent: u8, #[case] expected: f64) {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((percentile(&values, percent) - expected).abs() < f64::EPSILON);
    }

    #[test]
    fn the_percentile_of_few_values_is_the_largest() {
        assert!((percentile(&[1.0, 9.0], 99) - 9.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nothing_has_no_statistics() {
        assert!(median(&[]).is_nan() && percentile(&[], 50).is_nan() && median_ratio(&[], &[]).is_nan());
    }

    #[test]
    fn a_slow_round_does_not_change_the_ratio() {
        assert!((median_ratio(&[20.0, 200.0, 22.0], &[10.0, 100.0, 10.0]) - 2.0).abs() < f64::EPSILON);
    }
}
