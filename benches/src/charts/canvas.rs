//! What all charts share: colours that are readable on light and on dark pages, texts, legends.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Where a chart, or one of its panels, is drawn.
pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The background is that of the page. So every colour is between light and dark.
pub(super) const TEXT: RGBColor = RGBColor(0x74, 0x79, 0x81);
pub(super) const HERE: RGBColor = RGBColor(0x2f, 0x81, 0xf7);
pub(super) const LIMIT: RGBColor = RGBColor(0x7d, 0x85, 0x90);
pub(super) const PEER: RGBColor = RGBColor(0xd2, 0x69, 0x1e);
pub(super) const SECOND: RGBColor = RGBColor(0xd2, 0x69, 0x1e);

const FONT: &str = "sans-serif";
const SMALL: u32 = 15;
const TITLE: u32 = 18;

/// How much of the height the title and the legend take.
const HEAD: u32 = 52;

/// Draws on a transparent page of so many pixels.
pub(super) fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
    draw(&canvas)?;
    canvas.present()?;
    drop(canvas);
    Ok(text)
}

/// Small text, which has its anchor there.
pub(super) fn small_text(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    text(SMALL).pos(Pos::new(horizontal, vertical))
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&TEXT)
}

/// The title of a panel.
pub(super) fn panel_title() -> TextStyle<'static> {
    text(TITLE)
}

/// The lines of a panel's mesh.
pub(super) fn mesh() -> ShapeStyle {
    TEXT.mix(0.3).stroke_width(1)
}

/// The axes.
pub(super) fn axis() -> ShapeStyle {
    TEXT.mix(0.8).stroke_width(1)
}

/// How a mark of the legend looks.
pub(super) enum Mark {
    Bar(RGBAColor),
    Line(RGBColor),
    Dashes(RGBColor),
}

/// Draws title and legend, and gives the rest of the canvas.
pub(super) fn head<'a>(
    canvas: &Canvas<'a>,
    title: &str,
    legend: &[(Mark, String)],
) -> Result<Canvas<'a>> {
    let (head, rest) = canvas.split_vertically(HEAD);
    head.draw(&Text::new(title.to_owned(), (10, 6), text(TITLE + 1)))?;
    let mut left = 12;
    for (mark, name) in legend {
        let (middle, width) = (38, 22);
        match mark {
            Mark::Bar(colour) => {
                let corners = [(left, middle - 5), (left + width, middle + 5)];
                head.draw(&Rectangle::new(corners, colour.filled()))?;
            }
            Mark::Line(colour) => {
                let ends = vec![(left, middle), (left + width, middle)];
                head.draw(&PathElement::new(ends, colour.stroke_width(2)))?;
                head.draw(&Circle::new((left + width / 2, middle), 3, colour.filled()))?;
            }
            Mark::Dashes(colour) => {
                for dash in [0, 8, 16] {
                    let ends = vec![(left + dash, middle), (left + dash + 5, middle)];
                    head.draw(&PathElement::new(ends, colour.stroke_width(2)))?;
                }
            }
        }
        let style = small_text(HPos::Left, VPos::Center);
        head.draw(&Text::new(name.clone(), (left + width + 6, middle), style))?;
        // There is no font here to measure with; most letters are narrower than this.
        let letters = i32::try_from(name.chars().count())?;
        left += width + 6 + letters * 13 / 2 + 20;
    }
    Ok(rest)
}

/// A number of milliseconds with two or more digits.
pub(super) fn milliseconds(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1} ms")
    } else {
        format!("{value:.0} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance, and the contrast, as WCAG 2.2 defines them.
    fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
        let part = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue)
    }

    fn contrast(one: RGBColor, other: RGBColor) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn all_colours_are_readable_on_light_and_on_dark_pages() {
        for page in [RGBColor(0xff, 0xff, 0xff), RGBColor(0x0d, 0x11, 0x17)] {
            for (colour, least) in [(TEXT, 4.2), (HERE, 3.0), (LIMIT, 3.0), (PEER, 3.0)] {
                let contrast = contrast(colour, page);
                assert!(contrast >= least, "{colour:?} on {page:?}: {contrast:.2}");
            }
        }
    }
}
