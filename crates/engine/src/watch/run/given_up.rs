//! How often the log says that a change is given up.

use std::time::Duration;

use tokio::time::Instant;

/// There is one line in this time.
const PAUSE: Duration = Duration::from_secs(60);

/// Which changes that are given up have a line in the log: the first, and then one a minute.
#[derive(Debug, Default)]
pub(super) struct GivenUpLines {
    last: Option<Instant>,
    without: u64,
}

impl GivenUpLines {
    /// Whether this change has a line: how many had none since the last one that had.
    pub(super) fn line(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + PAUSE) {
            self.without += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.without))
    }

    /// How many changes had no line, if the last line was a while ago.
    pub(super) fn rest(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.without > 0 && self.last.is_some_and(|last| now >= last + PAUSE);
        is_due.then(|| {
            self.last = Some(now);
            std::mem::take(&mut self.without)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_a_minute() {
        let mut lines = GivenUpLines::default();
        let start = Instant::now();
        assert_eq!(lines.line(start), Some(0));
        assert_eq!(lines.line(start), None);
        assert_eq!(lines.line(start + PAUSE / 2), None);
        assert_eq!(lines.rest(start + PAUSE / 2), None);
        assert_eq!(lines.rest(start + PAUSE), Some(2));
        assert_eq!(lines.rest(start + PAUSE * 2), None);
        assert_eq!(lines.line(start + PAUSE * 3), Some(0));
    }
}
