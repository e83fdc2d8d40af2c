//! A measured figure, with the parts of the run that its noise shows in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Into so many parts, one after the other, the samples of a figure are divided.
const PARTS: u32 = 10;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FigureUnit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "keys/s")]
    KeysPerSecond,
    #[serde(rename = "calls/s")]
    CallsPerSecond,
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Of two figures of the same row.
    #[serde(rename = "ratio")]
    Ratio,
}

/// Which of two figures one would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BetterFigure {
    Less,
    More,
}

/// One number of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: FigureUnit,
    pub(crate) better: BetterFigure,
    /// Of the whole run.
    pub(crate) value: f64,
    /// The same of each part of the run, in order. A figure that is measured only once has none.
    pub(crate) parts: Vec<f64>,
}

impl Figure {
    /// A figure of this unit, whose lesser or greater value is better as usual for the unit.
    pub(crate) fn new(name: &str, unit: FigureUnit, value: f64, parts: Vec<f64>) -> Self {
        let better = match unit {
            FigureUnit::KeysPerSecond | FigureUnit::CallsPerSecond => BetterFigure::More,
            FigureUnit::Milliseconds | FigureUnit::Mebibytes | FigureUnit::Ratio => {
                BetterFigure::Less
            }
        };
        Self {
            name: name.to_owned(),
            unit,
            better,
            value: rounded(value),
            parts: parts.into_iter().map(rounded).collect(),
        }
    }

    /// The median of some times, which are in the order in which they were measured.
    pub(crate) fn median(name: &str, times: &[Duration]) -> Self {
        Self::percentile(name, times, 50)
    }

    /// A percentile of some times, which are in the order in which they were measured.
    pub(crate) fn percentile(name: &str, times: &[Duration], percent: usize) -> Self {
        let value = percentile(times, percent);
        let parts = parts(times).map(|part| percentile(part, percent));
        Self::new(name, FigureUnit::Milliseconds, value, parts.collect())
    }

    /// How much was done in a second: `each` at each of these times since the beginning, all within
    /// `span`.
    pub(crate) fn rate(
        name: &str,
        unit: FigureUnit,
        done: &[Duration],
        each: f64,
        span: Duration,
    ) -> Self {
        let part = span / PARTS;
        let mut parts = vec![0.0; PARTS as usize];
        let mut total = 0.0;
        for time in done {
            total += each;
            let place = time.as_nanos() / part.as_nanos().max(1);
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if let Some(count) = parts.get_mut(place) {
                *count += each / part.as_secs_f64();
            }
        }
        Self::new(name, unit, total / span.as_secs_f64(), parts)
    }

    /// The sum of two figures of a row.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let parts = self.parts.iter().zip(&other.parts).map(|(a, b)| a + b);
        let name = format!("{} + {}", self.name, other.name);
        Self::new(&name, self.unit, self.value + other.value, parts.collect())
    }

    /// How often `other`, a figure of the same row, goes into this one. A part is compared with the
    /// other's part of the same time.
    pub(crate) fn over(&self, name: &str, other: &Self) -> Self {
        let parts = self.parts.iter().zip(&other.parts).map(|(a, b)| a / b);
        let value = self.value / other.value;
        let mut ratio = Self::new(name, FigureUnit::Ratio, value, parts.collect());
        ratio.better = self.better;
        ratio
    }

    /// A ratio over the better one.
    pub(crate) fn better_if_more(mut self) -> Self {
        self.better = BetterFigure::More;
        self
    }
}

/// A percentile of some times, in milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times
        .get(place)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Parts of nearly the same length: ten, or one for each sample if they are fewer.
fn parts<T>(samples: &[T]) -> impl Iterator<Item = &[T]> {
    let (length, count) = (samples.len(), samples.len().min(PARTS as usize));
    (0..count).map(move |part| &samples[part * length / count..(part + 1) * length / count])
}

/// To five digits: more say nothing, and make files long.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_median_has_ten_parts_in_order() {
        let times: Vec<u64> = (0..25).collect();
        let figure = Figure::median("here", &ms(&times));
        assert_eq!(figure.value, 12.0);
        let expected = [1.0, 3.0, 6.0, 8.0, 11.0, 13.0, 16.0, 18.0, 21.0, 23.0];
        assert_eq!(figure.parts, expected);
        assert_eq!(figure.unit, FigureUnit::Milliseconds);
        assert_eq!(figure.better, BetterFigure::Less);
    }

    #[test]
    fn few_samples_are_a_part_each() {
        assert_eq!(
            Figure::median("here", &ms(&[3, 1, 2])).parts,
            [3.0, 1.0, 2.0]
        );
        assert!(Figure::median("here", &[]).parts.is_empty());
    }

    #[test]
    fn a_ratio_compares_the_parts_of_the_same_time() {
        let limit = Figure::median("limit", &ms(&[2, 4]));
        let call = Figure::median("empty call", &ms(&[2, 4]));
        let sum = limit.plus(&call);
        assert_eq!((sum.name.as_str(), sum.value), ("limit + empty call", 8.0));
        let ratio = Figure::median("here", &ms(&[4, 16])).over("here / limit", &sum);
        assert_eq!((ratio.value, ratio.parts), (2.0, vec![1.0, 2.0]));
        assert_eq!(ratio.unit, FigureUnit::Ratio);
    }

    #[test]
    fn a_ratio_of_rates_is_better_if_it_is_more() {
        let rate = Figure::new("here", FigureUnit::CallsPerSecond, 3.0, vec![]);
        assert_eq!(rate.over("here / peer", &rate).better, BetterFigure::More);
    }

    #[test]
    fn a_rate_counts_what_was_done_in_each_part() {
        // Two in each tenth of a second, and one more in the last.
        let mut done = Vec::new();
        for part in 0..10 {
            done.extend(ms(&[part * 100 + 20, part * 100 + 70]));
        }
        done.extend(ms(&[999]));
        let span = Duration::from_secs(1);
        let figure = Figure::rate("get-many", FigureUnit::KeysPerSecond, &done, 100.0, span);
        assert_eq!(figure.value, 2100.0);
        let mut expected = vec![2000.0; 10];
        expected[9] = 3000.0;
        assert_eq!(figure.parts, expected);
    }

    #[test]
    fn five_digits_are_kept() {
        assert_eq!(rounded(0.123_456_78), 0.123_46);
        assert_eq!(rounded(123_456.78), 123_460.0);
        assert_eq!(rounded(0.0), 0.0);
    }
}
