//! Whether two figures differ by more than their noise.

use crate::figure::Figure;

/// From so many parts on, their spread says something.
const FEWEST_PARTS: usize = 4;

/// How many times the spread two figures must differ by.
const SPREADS: f64 = 2.0;

/// A lesser change is never worth a line.
const LEAST_CHANGE: f64 = 0.01;

/// The share by which a normal distribution's standard deviation is more than its median deviation.
const NORMAL: f64 = 1.4826;

/// How a figure has changed between two runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FigureChange {
    /// The new figure to the old one.
    pub(crate) factor: f64,
    /// By what factor, or its inverse, the figures may differ by chance. `None` if there are too few
    /// parts to say.
    pub(crate) noise: Option<f64>,
}

impl FigureChange {
    /// `None` if there is no ratio of the two.
    pub(crate) fn between(old: &Figure, new: &Figure) -> Option<Self> {
        let factor = new.value / old.value;
        if !(factor.is_finite() && factor > 0.0) {
            return None;
        }
        let spreads = spread(&old.parts).zip(spread(&new.parts));
        let noise = spreads.map(|(old, new)| (SPREADS * old.hypot(new)).max(LEAST_CHANGE).exp());
        Some(Self { factor, noise })
    }

    /// Whether it has changed by more than chance explains; `None` if that cannot be said.
    pub(crate) fn is_beyond_noise(self) -> Option<bool> {
        let noise = self.noise?;
        Some(self.factor.ln().abs() > noise.ln())
    }
}

/// The standard deviation of the logarithm of one part, from the median deviation, so that a part in
/// which the machine was busy with something else does not count for more than it is.
///
/// It is not divided by the number of parts. The parts follow one another within seconds. How far
/// apart they are is the least that can be expected of runs on different days.
fn spread(parts: &[f64]) -> Option<f64> {
    if parts.len() < FEWEST_PARTS || parts.iter().any(|part| *part <= 0.0) {
        return None;
    }
    let logs: Vec<f64> = parts.iter().map(|part| part.ln()).collect();
    let middle = middle(&logs);
    let away: Vec<f64> = logs.iter().map(|log| (log - middle).abs()).collect();
    // Of few parts the median deviation is too small on average (Croux and Rousseeuw, 1992).
    let count = f64::from(u32::try_from(parts.len()).unwrap_or(u32::MAX));
    Some(NORMAL * self::middle(&away) * count / (count - 0.8))
}

/// The median; of an even number, the mean of the two in the middle.
pub(crate) fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(values[half - 1], *value),
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;
    use crate::figure::FigureUnit;

    fn figure(value: f64, parts: &[f64]) -> Figure {
        let parts = parts.iter().map(|part| part * value).collect();
        Figure::new("here", FigureUnit::Milliseconds, value, parts)
    }

    const QUIET: [f64; 10] = [0.99, 1.0, 1.01, 1.0, 0.99, 1.01, 1.0, 1.02, 0.98, 1.0];
    const LOUD: [f64; 10] = [0.8, 1.0, 1.2, 1.0, 0.85, 1.15, 1.0, 1.3, 0.75, 1.0];

    fn changed(old: &Figure, new: &Figure) -> Option<bool> {
        FigureChange::between(old, new).and_then(FigureChange::is_beyond_noise)
    }

    #[test]
    fn what_the_parts_do_not_explain_has_changed() {
        let old = figure(10.0, &QUIET);
        assert_eq!(changed(&old, &figure(11.0, &QUIET)), Some(true));
        assert_eq!(changed(&old, &figure(9.0, &QUIET)), Some(true));
        assert_eq!(changed(&old, &figure(10.2, &QUIET)), Some(false));
        assert_eq!(changed(&old, &old), Some(false));
    }

    #[test]
    fn the_noise_is_that_of_both_runs() {
        let old = figure(10.0, &QUIET);
        assert_eq!(changed(&old, &figure(11.0, &LOUD)), Some(false));
        assert_eq!(changed(&figure(11.0, &LOUD), &old), Some(false));
        assert_eq!(changed(&old, &figure(20.0, &LOUD)), Some(true));
    }

    #[test]
    fn one_bad_moment_hides_no_change() {
        let mut parts = QUIET;
        parts[3] = 5.0;
        let old = figure(10.0, &parts);
        assert_eq!(changed(&old, &figure(11.0, &parts)), Some(true));
    }

    #[test]
    fn less_than_a_hundredth_is_no_change() {
        let steady = [1.0; 10];
        let old = figure(10.0, &steady);
        assert_eq!(changed(&old, &figure(10.09, &steady)), Some(false));
        assert_eq!(changed(&old, &figure(10.2, &steady)), Some(true));
    }

    #[test]
    fn too_few_parts_say_nothing() {
        let old = figure(10.0, &QUIET[..3]);
        let change = FigureChange::between(&old, &figure(20.0, &QUIET));
        let expected = FigureChange {
            factor: 2.0,
            noise: None,
        };
        assert_eq!(change, Some(expected));
        assert_eq!(changed(&old, &figure(20.0, &QUIET)), None);
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        let nothing = Figure::new("failed", FigureUnit::CallsPerSecond, 0.0, vec![]);
        assert_eq!(FigureChange::between(&nothing, &figure(1.0, &QUIET)), None);
        assert_eq!(FigureChange::between(&figure(1.0, &QUIET), &nothing), None);
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        assert_eq!(middle(&[4.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(middle(&[]).is_nan());
    }
}
