//! What many samples come to: percentiles of latencies, the median of rounds.

use std::time::Duration;

/// Latencies of one measured interval, in whole microseconds: a thousandth of what is worth telling apart here, in four
/// bytes a sample.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.micros.push(micros);
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.micros.append(&mut others.micros);
    }

    pub(crate) fn len(&self) -> usize {
        self.micros.len()
    }

    /// The smallest latency that `percent` of the samples do not exceed, in milliseconds; `None` without samples.
    pub(crate) fn percentile_ms(&mut self, percent: f64) -> Option<f64> {
        let rank = rank(self.micros.len(), percent)?;
        let (_, value, _) = self.micros.select_nth_unstable(rank);
        Some(f64::from(*value) / 1000.0)
    }
}

/// The place of a percentile among `count` sorted samples, by the nearest-rank method.
fn rank(count: usize, percent: f64) -> Option<usize> {
    let last = count.checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of samples are far below 2^52, and the result is clamped"
    )]
    let rank = (count as f64 * percent / 100.0).ceil().max(1.0) as usize - 1;
    Some(rank.min(last))
}

/// The middle value; of an even number of values the mean of the two in the middle. `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for micros in micros {
            latencies.add(Duration::from_micros(micros));
        }
        latencies
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let mut hundred = latencies((1..=100).rev());
        for (percent, micros) in [(50.0, 50.0), (99.0, 99.0), (99.5, 100.0), (100.0, 100.0)] {
            assert_eq!(
                hundred.percentile_ms(percent),
                Some(micros / 1000.0),
                "{percent}"
            );
        }
        assert_eq!(hundred.percentile_ms(0.0), Some(0.001));
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_none() {
        assert_eq!(latencies([7]).percentile_ms(99.0), Some(0.007));
        assert_eq!(latencies([]).percentile_ms(99.0), None);
    }

    #[test]
    fn a_latency_beyond_an_hour_is_kept_as_the_longest() {
        let mut slow = latencies([u64::MAX]);
        assert_eq!(slow.percentile_ms(50.0), Some(f64::from(u32::MAX) / 1000.0));
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }
}
