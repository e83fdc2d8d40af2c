//! The time of a batch, beside the limit and the peer.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Canvas, HERE, LIMIT, Mark, PEER, axis, head, mesh, milliseconds, panel_title, small_text, svg,
};
use crate::batches::TABLE;
use crate::report::{BenchReport, FigureRow};

const WIDTH: u32 = 960;
const GROUP_HEIGHT: u32 = 46;

/// How much of a group's height a bar has.
const BAR: f64 = 0.27;

/// The bars of one batch, in milliseconds.
struct BatchBars {
    label: String,
    keys: f64,
    limit: f64,
    call: f64,
    here: f64,
    peer: Option<f64>,
}

impl BatchBars {
    /// `None` for a row that lacks a bar, and for one key, which is no batch.
    fn of(row: &FigureRow) -> Option<Self> {
        let value = |name| row.figure(name).map(|figure| figure.value);
        let (keys, bytes) = (*row.at.get("keys")?, *row.at.get("bytes")?);
        let bars = Self {
            label: format!("{keys} × {bytes} B"),
            keys,
            limit: value("limit")?,
            call: value("empty call")?,
            here: value("here")?,
            peer: value("peer"),
        };
        (keys > 1.0).then_some(bars)
    }

    /// Microseconds for each key: batches of 100 and of 10,000 keys are on one scale then.
    fn per_key(&self, milliseconds: f64) -> f64 {
        milliseconds * 1e3 / self.keys
    }

    fn longest(&self) -> f64 {
        let longest = (self.limit + self.call).max(self.here);
        self.per_key(self.peer.map_or(longest, |peer| peer.max(longest)))
    }
}

/// Draws a panel for each operation.
pub(super) fn draw(report: &BenchReport) -> Result<Option<String>> {
    let panels: Vec<(&str, Vec<BatchBars>)> = ["get-many", "set-many", "delete-many"]
        .into_iter()
        .map(|operation| {
            let rows = report.rows(TABLE).iter();
            let rows = rows.filter(|row| row.operation == operation);
            (operation, rows.filter_map(BatchBars::of).collect())
        })
        .filter(|(_, bars): &(_, Vec<_>)| !bars.is_empty())
        .collect();
    let groups = panels.iter().map(|(_, bars)| bars.len()).max();
    let Some(groups) = groups else {
        return Ok(None);
    };
    let bars = panels.iter().flat_map(|(_, bars)| bars);
    let longest = bars.clone().map(BatchBars::longest).fold(0.0, f64::max);
    let mut legend = vec![
        (Mark::Bar(HERE.into()), "this provider".to_owned()),
        (
            Mark::Bar(LIMIT.into()),
            "the limit: a plain program on the same bucket".to_owned(),
        ),
        (Mark::Bar(call_colour()), "and an empty call".to_owned()),
    ];
    if bars.clone().any(|bars| bars.peer.is_some()) {
        let name = report.peer.clone().unwrap_or_else(|| "the peer".to_owned());
        legend.push((Mark::Bar(PEER.into()), name));
    }
    let rows = u32::try_from(groups)?;
    let height = 52 + 84 + rows * GROUP_HEIGHT;
    let drawn = svg((WIDTH, height), |canvas| {
        let title = "Time of a batch: µs for each key, and ms for the batch. Shorter is better.";
        let rest = head(canvas, title, &legend)?;
        let areas = rest.split_evenly((1, panels.len()));
        for ((operation, bars), area) in panels.iter().zip(areas) {
            panel(&area, operation, bars, groups, longest)?;
        }
        Ok(())
    })?;
    Ok(Some(drawn))
}

fn call_colour() -> RGBAColor {
    LIMIT.mix(0.5)
}

fn panel(
    area: &Canvas<'_>,
    operation: &str,
    batches: &[BatchBars],
    groups: usize,
    longest: f64,
) -> Result<()> {
    // The first group is on top. To the right of the longest bar is room for its label.
    let bottom = -f64::from(u32::try_from(groups)?);
    let mut chart = ChartBuilder::on(area)
        .caption(operation, panel_title())
        .margin(8)
        .x_label_area_size(38)
        .y_label_area_size(100)
        .build_cartesian_2d(0.0..longest * 1.25, bottom..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(6)
        .max_light_lines(0)
        .bold_line_style(mesh())
        .axis_style(axis())
        .label_style(small_text(HPos::Center, VPos::Top))
        .x_label_formatter(&|value| format!("{value:.0}"))
        .x_desc("µs per key")
        .axis_desc_style(small_text(HPos::Center, VPos::Bottom))
        .draw()?;
    for (place, batch) in (0_u32..).zip(batches) {
        let top = -f64::from(place) - (1.0 - 3.0 * BAR) / 2.0;
        let label = Text::new(
            batch.label.clone(),
            (-8, 0),
            small_text(HPos::Right, VPos::Center),
        );
        let middle = -f64::from(place) - 0.5;
        chart.draw_series([EmptyElement::at((0.0, middle)) + label])?;
        let limit_and_call = batch.limit + batch.call;
        let mut bars = vec![
            (0.0, 0.0, batch.here, HERE.into(), Some(batch.here)),
            (1.0, 0.0, batch.limit, LIMIT.into(), None),
            (
                1.0,
                batch.limit,
                limit_and_call,
                call_colour(),
                Some(limit_and_call),
            ),
        ];
        if let Some(peer) = batch.peer {
            bars.push((2.0, 0.0, peer, PEER.into(), Some(peer)));
        }
        for (bar, from, to, colour, shown) in bars {
            let high = top - bar * BAR;
            let (from, to) = (batch.per_key(from), batch.per_key(to));
            let corners = [(from, high - BAR * 0.1), (to, high - BAR * 0.9)];
            chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            if let Some(shown) = shown {
                let style = small_text(HPos::Left, VPos::Center);
                let shown = Text::new(milliseconds(shown), (5, 0), style);
                let end = (to, high - BAR * 0.5);
                chart.draw_series([EmptyElement::at(end) + shown])?;
            }
        }
    }
    Ok(())
}
