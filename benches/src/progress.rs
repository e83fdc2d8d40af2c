//! What a run does now, and how long it will still take.

use std::time::Duration;

/// A row that will be measured.
pub(crate) struct PlannedRow {
    pub(crate) table: &'static str,
    /// How long it takes, more or less.
    pub(crate) time: Duration,
}

/// The rows of a table that take this long each.
pub(crate) fn planned(
    table: &'static str,
    times: impl IntoIterator<Item = Duration>,
) -> Vec<PlannedRow> {
    let row = |time| PlannedRow { table, time };
    times.into_iter().map(row).collect()
}

/// Counts the rows, and learns from those that are done how fast this machine is.
pub(crate) struct RunProgress {
    rows: Vec<PlannedRow>,
    begun: usize,
}

/// For so long the plan is believed more than the rows that are done.
const TRUSTED: Duration = Duration::from_secs(20);

impl RunProgress {
    pub(crate) fn new(rows: Vec<PlannedRow>) -> Self {
        Self { rows, begun: 0 }
    }

    /// What is about to happen, before the first row.
    pub(crate) fn overview(&self) -> String {
        let mut tables: Vec<_> = self.rows.iter().map(|row| row.table).collect();
        tables.dedup();
        format!(
            "{} in {}: about {}",
            counted(self.rows.len(), "row"),
            counted(tables.len(), "table"),
            roughly(self.time_from(0))
        )
    }

    /// The line for the next row, which begins `elapsed` after the first one did.
    pub(crate) fn next(&mut self, name: &str, elapsed: Duration) -> String {
        let number = self.begun;
        self.begun += 1;
        let all = self.rows.len().max(self.begun);
        let Some(row) = self.rows.get(number) else {
            return format!("[{}/{all}] {name}", self.begun);
        };
        let same = |other: &&PlannedRow| other.table == row.table;
        let of_table = self.rows.iter().filter(same).count();
        let before = self.rows[..number].iter().filter(same).count();
        let left = self.time_from(number).mul_f64(self.pace(number, elapsed));
        format!(
            "[{}/{all}] {}, row {} of {of_table}: {name}; about {} left",
            self.begun,
            row.table,
            before + 1,
            roughly(left)
        )
    }

    /// How much longer than planned the first rows have taken.
    fn pace(&self, rows: usize, elapsed: Duration) -> f64 {
        let planned: Duration = self.rows[..rows].iter().map(|row| row.time).sum();
        (elapsed + TRUSTED).as_secs_f64() / (planned + TRUSTED).as_secs_f64()
    }

    fn time_from(&self, row: usize) -> Duration {
        self.rows[row..].iter().map(|row| row.time).sum()
    }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// As exact as an estimate is.
fn roughly(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let step = if seconds < 20.0 { 1.0 } else { 10.0 };
    let seconds = ((seconds / step).round() * step).max(1.0);
    humantime::format_duration(Duration::from_secs_f64(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress() -> RunProgress {
        let mut rows = planned("batches", [4 * SECOND; 20]);
        rows.extend(planned("keys", [10 * SECOND; 2]));
        RunProgress::new(rows)
    }

    #[test]
    fn the_overview_has_the_whole_time() {
        assert_eq!(progress().overview(), "22 rows in 2 tables: about 1m 40s");
        let one = RunProgress::new(planned("keys", [4 * SECOND]));
        assert_eq!(one.overview(), "1 row in 1 table: about 4s");
    }

    #[test]
    fn a_line_counts_the_rows_of_the_run_and_of_the_table() {
        let mut progress = progress();
        let line = progress.next("get-many 100 × 128 B", Duration::ZERO);
        assert_eq!(
            line,
            "[1/22] batches, row 1 of 20: get-many 100 × 128 B; about 1m 40s left"
        );
        for row in 1..21 {
            progress.next("set-many", row * 4 * SECOND);
        }
        let line = progress.next("100000", 90 * SECOND);
        assert_eq!(line, "[22/22] keys, row 2 of 2: 100000; about 10s left");
    }

    #[test]
    fn the_rest_is_expected_to_be_as_slow_as_what_is_done() {
        let mut progress = progress();
        for row in 0..20 {
            progress.next("set-many", row * 12 * SECOND);
        }
        // 80 seconds were planned, and 240 were needed. The plan is still trusted a little.
        let line = progress.next("1000", 240 * SECOND);
        assert!(line.ends_with("about 50s left"), "{line}");
    }

    #[test]
    fn a_row_that_was_not_planned_is_named_too() {
        let mut progress = RunProgress::new(Vec::new());
        assert_eq!(progress.next("1000", Duration::ZERO), "[1/1] 1000");
    }
}
