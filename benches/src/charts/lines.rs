//! Panels with lines.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Canvas, Mark, axis, head, mesh, panel_title, small_text, svg};

/// The size of a chart of such panels.
const SIZE: (u32, u32) = (960, 360);

/// Draws a chart of panels beside each other, below its title and its legend.
pub(super) fn side_by_side(
    title: &str,
    legend: &[(Mark, String)],
    panels: &[LinePanel<'_>],
) -> Result<String> {
    svg(SIZE, |canvas| {
        let rest = head(canvas, title, legend)?;
        for (panel, area) in panels.iter().zip(rest.split_evenly((1, panels.len()))) {
            panel.draw(&area)?;
        }
        Ok(())
    })
}

/// One line.
pub(super) struct ChartLine {
    pub(super) colour: RGBColor,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over the same axis.
pub(super) struct LinePanel<'a> {
    pub(super) title: &'a str,
    pub(super) lines: Vec<ChartLine>,
    /// Where the axis below has marks, and what they are called.
    pub(super) marks: &'a [(f64, String)],
    pub(super) below: &'a str,
    pub(super) beside: &'a str,
    /// What the axis on the left ends with.
    pub(super) most: f64,
}

impl LinePanel<'_> {
    /// Draws it with the axis on the left beginning at 0.
    pub(super) fn draw(&self, area: &Canvas<'_>) -> Result<()> {
        let ends = self.marks.iter().map(|(at, _)| *at);
        let (first, last) = ends.fold((f64::MAX, f64::MIN), |(first, last), at| {
            (first.min(at), last.max(at))
        });
        let room = (last - first).max(1.0) * 0.06;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, panel_title())
            .margin(8)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(first - room..last + room, 0.0..self.most)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .max_light_lines(0)
            .bold_line_style(mesh())
            .axis_style(axis())
            .y_label_style(small_text(HPos::Right, VPos::Center))
            .y_label_formatter(&|value| format!("{value:.0}"))
            .x_desc(self.below)
            .y_desc(self.beside)
            .axis_desc_style(small_text(HPos::Center, VPos::Bottom))
            .draw()?;
        for (at, name) in self.marks {
            let style = small_text(HPos::Center, VPos::Top);
            let mark = PathElement::new(vec![(0, 0), (0, 4)], axis());
            let name = Text::new(name.clone(), (0, 8), style);
            chart.draw_series([EmptyElement::at((*at, 0.0)) + mark + name])?;
        }
        for line in &self.lines {
            let style = line.colour.stroke_width(2);
            let points = line.points.iter().copied();
            if line.dashed {
                let points: Vec<_> = points.collect();
                chart.draw_series(DashedLineSeries::new(points, 5, 4, style))?;
            } else {
                chart.draw_series(LineSeries::new(points.clone(), style))?;
                let dots = points.map(|point| Circle::new(point, 3, line.colour.filled()));
                chart.draw_series(dots)?;
            }
        }
        Ok(())
    }
}
