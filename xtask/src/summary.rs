//! Sums up what the test binaries say of themselves.

use std::fmt;
use std::process::ExitCode;

/// Results of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Summary {
    /// Prints the closing line. No test at all is no success.
    pub(crate) fn close(self) -> ExitCode {
        if self.passed + self.failed == 0 {
            println!("no test ran");
        }
        println!("{self}");
        if self.passed > 0 && self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Adds a test binary's closing line; every other line is left alone.
    pub(crate) fn add_line(&mut self, line: &str) {
        if let Some(one) = closing_line(line) {
            self.passed += one.passed;
            self.failed += one.failed;
            self.skipped += one.skipped;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Reads `test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; …`.
///
/// Tests that were filtered out were not asked for, so they are not skipped ones.
fn closing_line(line: &str) -> Option<Summary> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut summary = Summary::default();
    for count in counts.split(';') {
        let Some((number, what)) = count.trim().split_once(' ') else {
            continue;
        };
        let field = match what {
            "passed" => &mut summary.passed,
            "failed" => &mut summary.failed,
            "ignored" => &mut summary.skipped,
            _ => continue,
        };
        *field = number.parse().ok()?;
    }
    Some(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_closing_lines_only() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.00s",
            "test summary::tests::test_result ... ok",
            "test result: FAILED. 10 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s",
            "test result: of something else",
        ] {
            summary.add_line(line);
        }
        assert_eq!(summary.to_string(), "12 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn says_nothing_of_skipped_tests_if_there_are_none() {
        let mut summary = Summary::default();
        assert_eq!(summary.close(), ExitCode::FAILURE);
        summary.add_line("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!(summary.to_string(), "1 passed, 0 failed");
        assert_eq!(summary.close(), ExitCode::SUCCESS);
    }
}
