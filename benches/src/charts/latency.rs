//! The time of a batch over the delay of the network.

use anyhow::Result;

use super::canvas::{HERE, LIMIT, Mark, SECOND};
use super::lines::{ChartLine, LinePanel, side_by_side};
use crate::network::TABLE;
use crate::report::{BenchReport, FigureRow};

/// Of these values; larger ones are in the table.
const BYTES: f64 = 128.0;

/// The sizes of batches that have a line.
const SIZES: [(f64, &str, plotters::style::RGBColor); 2] =
    [(100.0, "100", HERE), (1000.0, "1000", SECOND)];

/// What takes the time of a row, in milliseconds.
type TimeOf = fn(&FigureRow) -> Option<f64>;

fn here(row: &FigureRow) -> Option<f64> {
    Some(row.figure("here")?.value)
}

fn limit_and_call(row: &FigureRow) -> Option<f64> {
    Some(row.figure("limit")?.value + row.figure("empty call")?.value)
}

/// Draws a panel for each operation, with two lines for each size of batch.
pub(super) fn draw(report: &BenchReport) -> Result<Option<String>> {
    let rows = report.rows(TABLE).iter();
    let rows: Vec<&FigureRow> = rows
        .filter(|row| row.at.get("bytes") == Some(&BYTES))
        .collect();
    let mut delays: Vec<f64> = rows
        .iter()
        .filter_map(|row| row.at.get("delay_ms"))
        .copied()
        .collect();
    delays.sort_by(f64::total_cmp);
    delays.dedup();
    let marks: Vec<(f64, String)> = delays.iter().map(|at| (*at, at.to_string())).collect();
    let most = rows.iter().flat_map(|row| [here(row), limit_and_call(row)]);
    let most = most.flatten().fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(None);
    }
    let line = |operation: &str, keys: f64, colour, dashed| {
        let time: TimeOf = if dashed { limit_and_call } else { here };
        let rows = rows
            .iter()
            .filter(|row| row.operation == operation && row.at.get("keys") == Some(&keys));
        let points = rows.filter_map(|row| Some((*row.at.get("delay_ms")?, time(row)?)));
        ChartLine {
            colour,
            dashed,
            points: points.collect(),
        }
    };
    let panels = ["get-many", "set-many", "delete-many", "keys"].map(|operation| {
        let lines = SIZES.iter().flat_map(|(keys, _, colour)| {
            [true, false].map(|dashed| line(operation, *keys, *colour, dashed))
        });
        LinePanel {
            title: operation,
            lines: lines.filter(|line| !line.points.is_empty()).collect(),
            marks: &marks,
            below: "delay each way, ms",
            beside: "ms for a batch",
            most: most * 1.1,
        }
    });
    let panels: Vec<_> = panels
        .into_iter()
        .filter(|panel| !panel.lines.is_empty())
        .collect();
    let mut legend: Vec<_> = SIZES
        .iter()
        .map(|(_, keys, colour)| (Mark::Line(*colour), format!("{keys} keys")))
        .collect();
    let limit = "the limit: a plain program, and an empty call".to_owned();
    legend.push((Mark::Dashes(LIMIT), limit));
    let title = "Time of a batch of 128 B values over the network's delay. Less is better.";
    side_by_side(title, &legend, &panels).map(Some)
}
