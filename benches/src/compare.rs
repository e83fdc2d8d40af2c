//! What has changed between two runs.

use std::fmt::Write as _;

use crate::figure::{BetterFigure, Figure, FigureUnit};
use crate::noise::{FigureChange, middle};
use crate::report::{BenchReport, FigureRow};

/// A figure that both runs have.
struct ComparedFigure<'a> {
    table: &'a str,
    row: &'a str,
    old: &'a Figure,
    new: &'a Figure,
    change: FigureChange,
}

/// The figures of two runs, side by side.
struct Comparison<'a> {
    compared: Vec<ComparedFigure<'a>>,
    /// How many figures only one of the runs has, or are 0.
    alone: usize,
}

/// What has changed beyond noise from one run to another, as Markdown.
pub(crate) fn changes(old: &BenchReport, new: &BenchReport) -> String {
    let comparison = Comparison::of(old, new);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = comparison.write(&mut text, old, new);
    text
}

impl<'a> Comparison<'a> {
    fn of(old: &'a BenchReport, new: &'a BenchReport) -> Self {
        let (mut compared, mut matched) = (Vec::new(), 0);
        for table in &new.tables {
            for row in &table.rows {
                let known = old.rows(&table.name).iter();
                let Some(known) = known.clone().find(|known| known.name == row.name) else {
                    continue;
                };
                for new in &row.figures {
                    let old = known.figure(&new.name).filter(|old| old.unit == new.unit);
                    let Some(old) = old else { continue };
                    if let Some(change) = FigureChange::between(old, new) {
                        compared.push(ComparedFigure {
                            table: &table.name,
                            row: &row.name,
                            old,
                            new,
                            change,
                        });
                        matched += 1;
                    }
                }
            }
        }
        let alone = count(old) + count(new) - 2 * matched;
        Self { compared, alone }
    }

    fn write(&self, text: &mut String, old: &BenchReport, new: &BenchReport) -> std::fmt::Result {
        writeln!(
            text,
            "From the run of {} to that of {}:",
            old.begun, new.begun
        )?;
        for difference in differences(old, new) {
            writeln!(text, "- {difference}.")?;
        }
        self.write_pace(text)?;
        let changed = |ratio: bool| {
            let figures = self.compared.iter();
            let of_kind =
                figures.filter(move |figure| (figure.new.unit == FigureUnit::Ratio) == ratio);
            of_kind.filter(|figure| figure.change.is_beyond_noise() == Some(true))
        };
        for (ratio, title) in [(true, "ratios of one run"), (false, "figures")] {
            let lines: Vec<String> = changed(ratio).map(ComparedFigure::line).collect();
            if !lines.is_empty() {
                writeln!(
                    text,
                    "\n| {title} | figure | old | new | change | noise up to | |"
                )?;
                writeln!(text, "| --- | --- | ---: | ---: | ---: | ---: | --- |")?;
                writeln!(text, "{}", lines.join("\n"))?;
            }
        }
        let with = |beyond: Option<bool>| {
            let figures = self.compared.iter();
            figures
                .filter(|figure| figure.change.is_beyond_noise() == beyond)
                .count()
        };
        writeln!(
            text,
            "\n{} of {} figures have changed beyond noise, {} have not. {} have too few samples to \
             say. {} are in one of the runs only, or 0.",
            with(Some(true)),
            self.compared.len(),
            with(Some(false)),
            with(None),
            self.alone
        )
    }

    /// Times change when the machine is faster or slower than it was, and ratios do not.
    fn write_pace(&self, text: &mut String) -> std::fmt::Result {
        let times = self.compared.iter();
        let times = times.filter(|figure| figure.new.unit == FigureUnit::Milliseconds);
        let factors: Vec<f64> = times.map(|figure| figure.change.factor).collect();
        if factors.is_empty() {
            return Ok(());
        }
        let share = percent(middle(&factors));
        writeln!(
            text,
            "- The median change of all times is {share}. If that is much, the machine has changed, \
             and only ratios say something."
        )
    }
}

impl ComparedFigure<'_> {
    fn line(&self) -> String {
        let better = match (self.change.factor < 1.0, self.new.better) {
            (true, BetterFigure::Less) | (false, BetterFigure::More) => "better",
            (true, BetterFigure::More) | (false, BetterFigure::Less) => "worse",
        };
        // In the direction of the change, so that the two can be compared.
        let noise = self.change.noise.unwrap_or(f64::NAN);
        let noise = if self.change.factor < 1.0 {
            1.0 / noise
        } else {
            noise
        };
        format!(
            "| {}: {} | {} | {} | {} | {} | {} | {better} |",
            self.table,
            self.row,
            self.new.name,
            shown(self.old),
            shown(self.new),
            percent(self.change.factor),
            percent(noise)
        )
    }
}

fn shown(figure: &Figure) -> String {
    match figure.unit {
        FigureUnit::Milliseconds => format!("{:.2} ms", figure.value),
        FigureUnit::KeysPerSecond => format!("{:.0} keys/s", figure.value),
        FigureUnit::CallsPerSecond => format!("{:.0} calls/s", figure.value),
        FigureUnit::Mebibytes => format!("{:.1} MiB", figure.value),
        FigureUnit::Ratio => format!("{:.2}", figure.value),
    }
}

fn percent(factor: f64) -> String {
    format!("{:+.1} %", (factor - 1.0) * 100.0)
}

fn count(report: &BenchReport) -> usize {
    let rows = report.tables.iter().flat_map(|table| &table.rows);
    rows.map(|row: &FigureRow| row.figures.len()).sum()
}

/// What the runs were made with, where it is not the same.
fn differences(old: &BenchReport, new: &BenchReport) -> Vec<String> {
    let settings = [
        (
            "nats-server",
            old.nats_server.clone(),
            new.nats_server.clone(),
        ),
        ("peer", peer(old), peer(new)),
        ("processors", old.cpus.to_string(), new.cpus.to_string()),
        (
            "seconds a row",
            old.seconds.to_string(),
            new.seconds.to_string(),
        ),
    ];
    let differs = settings.into_iter().filter(|(_, old, new)| old != new);
    let line = |(what, old, new)| format!("Not the same in both: {what}, {old} then and {new} now");
    differs.map(line).collect()
}

fn peer(report: &BenchReport) -> String {
    report.peer.clone().unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: [f64; 10] = [0.99, 1.0, 1.01, 1.0, 0.99, 1.01, 1.0, 1.02, 0.98, 1.0];

    fn figure(name: &str, unit: FigureUnit, value: f64) -> Figure {
        Figure::new(name, unit, value, QUIET.map(|part| part * value).to_vec())
    }

    /// A run in which all times are this many times those of another, and ours more.
    fn run(machine: f64, ours: f64) -> BenchReport {
        let mut report = BenchReport::new("2.15.1", None, 4.0);
        let limit = figure("limit", FigureUnit::Milliseconds, 2.0 * machine);
        let here = figure("here", FigureUnit::Milliseconds, 3.0 * machine * ours);
        let ratio = here.over("here / limit", &limit);
        let row = FigureRow::new("get-many").figures([limit, here, ratio]);
        report.add("batches", row);
        let rate = figure(
            "set-many",
            FigureUnit::KeysPerSecond,
            1000.0 / machine / ours,
        );
        report.add("throughput", FigureRow::new("16 callers").figures([rate]));
        report
    }

    #[test]
    fn nothing_has_changed_between_a_run_and_itself() {
        let text = changes(&run(1.0, 1.0), &run(1.0, 1.0));
        assert!(
            text.contains("0 of 4 figures have changed beyond noise, 4 have not."),
            "{text}"
        );
        assert!(!text.contains("| figure |"), "{text}");
    }

    #[test]
    fn what_has_changed_has_a_line_with_its_noise() {
        let text = changes(&run(1.0, 1.0), &run(1.0, 1.2));
        assert!(
            text.contains(
                "| batches: get-many | here | 3.00 ms | 3.60 ms | +20.0 % | +4.6 % | worse |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| batches: get-many | here / limit | 1.50 | 1.80 | +20.0 % |"),
            "{text}"
        );
        assert!(
            text.contains("| 1000 keys/s | 833 keys/s | -16.7 % | -4.4 % | worse |"),
            "{text}"
        );
        assert!(
            text.contains("3 of 4 figures have changed beyond noise"),
            "{text}"
        );
        assert!(!text.contains("| limit |"), "{text}");
    }

    #[test]
    fn a_gain_is_better() {
        let text = changes(&run(1.0, 1.2), &run(1.0, 1.0));
        assert_eq!(text.matches("| better |").count(), 3, "{text}");
    }

    #[test]
    fn on_a_slower_machine_times_change_and_ratios_do_not() {
        let text = changes(&run(1.0, 1.0), &run(1.5, 1.0));
        assert!(!text.contains("ratios of one run"), "{text}");
        assert!(text.contains("| figures | figure |"), "{text}");
        assert!(
            text.contains("median change of all times is +50.0 %"),
            "{text}"
        );
    }

    #[test]
    fn ratios_come_first() {
        let text = changes(&run(1.0, 1.0), &run(1.0, 2.0));
        let (ratios, rest) = (text.find("| ratios of one run |"), text.find("| figures |"));
        assert!(ratios.is_some() && ratios < rest, "{text}");
    }

    #[test]
    fn what_only_one_run_has_is_counted() {
        let mut new = run(1.0, 1.0);
        let more = figure("one", FigureUnit::Milliseconds, 1.0);
        new.add("connections", FigureRow::new("1000").figures([more]));
        let text = changes(&run(1.0, 1.0), &new);
        assert!(text.contains("1 are in one of the runs only"), "{text}");
    }

    #[test]
    fn one_sample_is_too_few_to_say() {
        let with = |value| {
            let mut report = BenchReport::new("2.15.1", None, 4.0);
            let idle = Figure::new("idle", FigureUnit::Mebibytes, value, vec![value]);
            report.add("memory", FigureRow::new("idle").figures([idle]));
            report
        };
        let text = changes(&with(10.0), &with(20.0));
        assert!(text.contains("1 have too few samples to say"), "{text}");
    }

    #[test]
    fn it_says_what_the_runs_were_made_with_if_that_differs() {
        let (old, mut new) = (run(1.0, 1.0), run(1.0, 1.0));
        new.nats_server = "2.10.26".to_owned();
        let text = changes(&old, &new);
        assert!(
            text.contains("nats-server, 2.15.1 then and 2.10.26 now"),
            "{text}"
        );
        assert!(!text.contains("processors"), "{text}");
    }
}
