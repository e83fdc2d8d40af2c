//! Keeps what a run measures, and says on standard error what it does. Standard output is for the
//! tables alone.

use std::time::Instant;

use crate::progress::{PlannedRow, RunProgress};
use crate::report::{BenchReport, FigureRow};

/// Every table begins its rows and records its figures here.
pub(crate) struct FigureRecorder {
    report: BenchReport,
    progress: RunProgress,
    begun: Instant,
}

impl FigureRecorder {
    /// Says what will be done.
    pub(crate) fn begin(report: BenchReport, rows: Vec<PlannedRow>) -> Self {
        let progress = RunProgress::new(rows);
        eprintln!("{}", progress.overview());
        Self {
            report,
            progress,
            begun: Instant::now(),
        }
    }

    /// Says that this row is being measured now.
    pub(crate) fn begin_row(&mut self, name: &str) {
        eprintln!("{}", self.progress.next(name, self.begun.elapsed()));
    }

    /// Keeps the figures of a row.
    pub(crate) fn keep(&mut self, table: &str, row: FigureRow) {
        self.report.add(table, row);
    }

    pub(crate) fn report(&self) -> &BenchReport {
        &self.report
    }
}
