//! Plots as SVG.

use std::error::Error;

use plotters::prelude::full_palette::{BLUE_400, GREY_400};
use plotters::prelude::*;

use super::latencies::PERCENTILES;
use super::{Group, Row};

const WIDTH: u32 = 860;
/// Height of a row, and of what is above and below them.
const ROW: u32 = 44;
const FRAME: u32 = 90;
const FONT: (&str, i32) = ("sans-serif", 14);
const TITLE: (&str, i32) = ("sans-serif", 18);

/// A group's plot: bars with their spread, or lines over percentiles.
///
/// # Errors
/// What the drawing says.
pub fn draw(group: Group, rows: &[&Row]) -> Result<String, Box<dyn Error>> {
    let rows: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| !row.figures.is_empty())
        .collect();
    let mut drawing = String::new();
    match group {
        Group::Rr => percentiles(&mut drawing, &rows, group)?,
        _ => bars(&mut drawing, &rows, group)?,
    }
    Ok(drawing)
}

fn caption(group: Group) -> String {
    format!("{}, {}", group.title(), group.unit())
}

/// Horizontal bars to the median, with a line from the least to the most.
fn bars(drawing: &mut String, rows: &[&Row], group: Group) -> Result<(), Box<dyn Error>> {
    let count = rows.len().max(1) as u32;
    let area = SVGBackend::with_string(drawing, (WIDTH, count * ROW + FRAME)).into_drawing_area();
    area.fill(&WHITE)?;
    let samples = rows.iter().filter_map(|row| row.figures.first());
    let most = samples.map(|(_, sample)| sample.max()).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(caption(group), TITLE)
        .margin(10)
        .x_label_area_size(30)
        .build_cartesian_2d(
            0.0..most.max(f64::MIN_POSITIVE) * 1.05,
            0.0..f64::from(count),
        )?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .label_style(FONT)
        .light_line_style(WHITE)
        .draw()?;
    for (n, row) in rows.iter().enumerate() {
        let Some((_, sample)) = row.figures.first() else {
            continue;
        };
        // The first row on top.
        let bottom = f64::from(count) - 1.0 - n as f64;
        let colour = if row.name.starts_with("fullbore") {
            BLUE_400
        } else {
            GREY_400
        };
        let bar = [(0.0, bottom + 0.1), (sample.median(), bottom + 0.55)];
        let spread = [(sample.min(), bottom + 0.32), (sample.max(), bottom + 0.32)];
        chart.draw_series([Rectangle::new(bar, colour.filled())])?;
        chart.draw_series([PathElement::new(spread, BLACK.stroke_width(2))])?;
        let text = format!("{}: {}", row.name, super::report::plain(sample.median()));
        chart.draw_series([Text::new(text, (0.0, bottom + 0.9), FONT)])?;
    }
    area.present()?;
    Ok(())
}

/// A line for each row over the percentiles, of medians.
fn percentiles(drawing: &mut String, rows: &[&Row], group: Group) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::with_string(drawing, (WIDTH, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let values = || {
        let of = rows.iter().map(|row| row.figures.iter());
        let figures = of.flat_map(|figures| figures.take(PERCENTILES.len()));
        figures.map(|(_, sample)| sample.median())
    };
    let low = values().fold(f64::INFINITY, f64::min).clamp(0.1, 1e6);
    let high = values().fold(low * 2.0, f64::max);
    let last = (PERCENTILES.len() - 1) as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption(group), TITLE)
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..last, (low * 0.8..high * 1.2).log_scale())?;
    let name = |at: &f64| {
        let known = PERCENTILES.get(at.round().max(0.0) as usize);
        known.map_or(String::new(), |(name, _)| (*name).to_owned())
    };
    chart
        .configure_mesh()
        .x_labels(PERCENTILES.len())
        .x_label_formatter(&name)
        .label_style(FONT)
        .light_line_style(WHITE)
        .draw()?;
    for (n, row) in rows.iter().enumerate() {
        let colour = Palette99::pick(n).to_rgba();
        let points = row.figures.iter().take(PERCENTILES.len()).enumerate();
        let points = points.map(|(at, (_, sample))| (at as f64, sample.median()));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(row.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(FONT)
        .draw()?;
    area.present()?;
    Ok(())
}
