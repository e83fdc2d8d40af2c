//! Charts of a run's figures, as SVG.

mod batch_times;
mod canvas;
mod latency;
mod lines;
mod throughput;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::report::BenchReport;

/// Draws a chart, or nothing if its table was not measured.
type DrawChart = fn(&BenchReport) -> Result<Option<String>>;

const CHARTS: [(&str, DrawChart); 3] = [
    ("batches.svg", batch_times::draw),
    ("throughput.svg", throughput::draw),
    ("latency.svg", latency::draw),
];

/// Writes the charts into a directory, and says on standard error which. A chart whose table was not
/// measured is left as it is.
///
/// # Errors
/// If there is no figure of any chart, or a file cannot be written.
pub(crate) fn draw(report: &BenchReport, dir: &Path) -> Result<()> {
    let mut drawn = 0;
    for (name, draw) in CHARTS {
        let path = dir.join(name);
        match draw(report).with_context(|| format!("cannot draw {name}"))? {
            Some(svg) => {
                fs::create_dir_all(dir)
                    .and_then(|()| fs::write(&path, svg))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                eprintln!("drawn: {}", path.display());
                drawn += 1;
            }
            None => eprintln!("not drawn, because the run has no such table: {name}"),
        }
    }
    ensure!(
        drawn > 0,
        "the run has none of the tables that there are charts of: batches, callers, network"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Figure, FigureUnit};
    use crate::report::FigureRow;

    fn ms(name: &str, value: f64) -> Figure {
        Figure::new(name, FigureUnit::Milliseconds, value, vec![])
    }

    /// A run with the rows of all charts.
    fn report() -> BenchReport {
        let mut report = BenchReport::new("2.15.1", None, 4.0);
        report.peer = Some("another provider".to_owned());
        for (operation, keys) in [("get-many", 1), ("get-many", 1000), ("set-many", 1000)] {
            let row = FigureRow::new(format!("{operation} {keys} × 128 B")).operation(operation);
            let row = row.at("keys", keys).at("bytes", 128).figures([
                ms("limit", 5.0),
                ms("empty call", 1.0),
                ms("here", 5.5),
                ms("peer", 13.25),
            ]);
            report.add("batches", row);
        }
        for (links, callers) in [(1, 1), (1, 64), (16, 1), (16, 64)] {
            let rate = |name| Figure::new(name, FigureUnit::KeysPerSecond, 80_000.0, vec![]);
            let row = FigureRow::new(format!("callers {callers}, links {links}"));
            let row = row.at("callers", callers).at("links", links);
            report.add(
                "throughput",
                row.figures([rate("get-many"), rate("set-many")]),
            );
        }
        for delay in [0.0, 0.5, 2.0_f64] {
            let row = FigureRow::new(format!("get-many 1000 × 128 B, {delay} ms each way"));
            let row = row.operation("get-many").at("keys", 1000).at("bytes", 128);
            let row = row.at_fraction("delay_ms", delay).figures([
                ms("limit", 12.0 + delay),
                ms("empty call", 2.0),
                ms("here", 14.0 + 2.0 * delay),
            ]);
            report.add("network", row);
        }
        report
    }

    #[test]
    fn all_charts_are_drawn() -> Result<()> {
        let report = report();
        for (name, draw) in CHARTS {
            let svg = draw(&report)?.with_context(|| format!("no {name}"))?;
            assert!(
                svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
                "{name}: {svg}"
            );
            assert!(!svg.contains("NaN"), "{name}: {svg}");
        }
        Ok(())
    }

    #[test]
    fn batches_are_beside_the_limit_and_the_peer() -> Result<()> {
        let svg = batch_times::draw(&report())?.context("no chart")?;
        for text in [
            "1000 × 128 B",
            "5.5 ms",
            "6.0 ms",
            "13 ms",
            "another provider",
        ] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
        // A call of one key is no batch.
        assert!(!svg.contains("1 × 128 B\n"), "{svg}");
        Ok(())
    }

    #[test]
    fn without_a_peer_there_is_none_in_the_chart() -> Result<()> {
        let mut report = report();
        report.peer = None;
        for row in &mut report.tables[0].rows {
            row.figures.retain(|figure| figure.name != "peer");
        }
        let svg = batch_times::draw(&report)?.context("no chart")?;
        assert!(svg.contains("5.5 ms") && !svg.contains("peer"), "{svg}");
        Ok(())
    }

    #[test]
    fn the_same_figures_give_the_same_bytes() -> Result<()> {
        for (_, draw) in CHARTS {
            assert_eq!(draw(&report())?, draw(&report())?);
        }
        Ok(())
    }

    #[test]
    fn a_run_of_other_tables_has_no_charts() {
        let report = BenchReport::new("2.15.1", None, 4.0);
        let dir = std::env::temp_dir().join("benches-no-charts");
        let error = draw(&report, &dir).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("none of the tables")));
        assert!(!dir.exists());
    }
}
