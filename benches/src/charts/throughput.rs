//! The throughput over the number of callers.

use anyhow::Result;

use super::canvas::{HERE, Mark, SECOND};
use super::lines::{ChartLine, LinePanel, side_by_side};
use crate::callers::THROUGHPUT;
use crate::report::BenchReport;

/// Draws a panel for reads and one for writes, with a line for each number of links.
pub(super) fn draw(report: &BenchReport) -> Result<Option<String>> {
    let rows = report.rows(THROUGHPUT);
    let numbers = |what: &str| {
        let numbers = rows.iter().filter_map(|row| row.at.get(what));
        let mut numbers: Vec<f64> = numbers.copied().collect();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        numbers
    };
    let (callers, links) = (numbers("callers"), numbers("links"));
    let styles: Vec<_> = links.iter().zip([HERE, SECOND]).collect();
    // Of 1, 16 and 64 callers the first two would be one, were the distances those of the numbers.
    let marks: Vec<(f64, String)> = (0_u32..)
        .zip(&callers)
        .map(|(place, callers)| (f64::from(place), callers.to_string()))
        .collect();
    let figures = rows.iter().flat_map(|row| &row.figures);
    let most = figures.map(|figure| figure.value / 1e3).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(None);
    }
    let panels = ["get-many", "set-many"].map(|operation| {
        let drawn = styles.iter().map(|(links, colour)| {
            let rows = rows.iter().filter(|row| row.at.get("links") == Some(links));
            let points = rows.filter_map(|row| {
                let at = row.at.get("callers")?;
                let at = at.to_string();
                let (place, _) = marks.iter().find(|(_, mark)| *mark == at)?;
                Some((*place, row.figure(operation)?.value / 1e3))
            });
            ChartLine {
                colour: *colour,
                dashed: false,
                points: points.collect(),
            }
        });
        LinePanel {
            title: operation,
            lines: drawn.collect(),
            marks: &marks,
            below: "callers at once",
            beside: "thousand keys a second",
            most: most * 1.1,
        }
    });
    let legend: Vec<_> = styles
        .iter()
        .map(|(links, colour)| {
            let what = if links.to_string() == "1" {
                "link"
            } else {
                "links"
            };
            (Mark::Line(*colour), format!("over {links} {what}"))
        })
        .collect();
    let title = "Throughput of batches of 100 × 256 B. More is better.";
    side_by_side(title, &legend, &panels).map(Some)
}
