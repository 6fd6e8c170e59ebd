//! Percentiles.

/// The smallest value that is at least as large as `percent` % of all of them (nearest rank); NaN of none.
pub(crate) fn percentile(values: &[f64], percent: u8) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * usize::from(percent)).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=50).rev().map(f64::from).collect();
        for (percent, expected) in [(50, 25.0), (99, 50.0), (100, 50.0), (1, 1.0)] {
            assert!((percentile(&values, percent) - expected).abs() < f64::EPSILON, "{percent}");
        }
        assert!(percentile(&[], 50).is_nan());
    }
}
