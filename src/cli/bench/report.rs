//! What a measurement came to: as text, JSON, or a page with plots.

use std::fmt::Write as _;
use std::path::Path;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use serde::Serialize;

use super::args::OutputArgs;
use crate::cli::failure::{Exit, Failure};

/// Size of a plot in pixels.
const PLOT: (u32, u32) = (860, 320);
const FONT: (&str, i32) = ("sans-serif", 14);

/// Under which conditions figures were taken.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Conditions(Vec<(String, String)>);

impl Conditions {
    /// Those of the machine.
    pub fn of_machine() -> Self {
        let mut this = Self::default();
        let name = rustix::system::uname();
        this.add("version", format!("fullbore {}", env!("CARGO_PKG_VERSION")));
        this.add("kernel", name.release().to_string_lossy().into_owned());
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        this.add("cores of the machine", cores.to_string());
        this
    }

    /// One more.
    pub fn add(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// Points to be drawn as a line.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Points, in order of their first part.
    pub points: Vec<(f64, f64)>,
}

/// Lines over the same axes.
#[derive(Clone, Debug, Serialize)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Below it, with its unit.
    pub x: &'static str,
    /// Beside it, with its unit.
    pub y: &'static str,
    /// Whether the horizontal axis grows by factors.
    pub log_x: bool,
    /// The lines.
    pub series: Vec<Series>,
}

/// What a measurement came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The command.
    pub title: String,
    /// Under which conditions.
    pub conditions: Conditions,
    /// The figures.
    pub figures: Vec<Figure>,
    /// The plots.
    pub plots: Vec<Plot>,
}

impl Report {
    /// A report without figures yet.
    pub fn new(title: &str, conditions: Conditions) -> Self {
        Self {
            title: title.to_owned(),
            conditions,
            figures: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// One more figure.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    /// Writes it where it was asked for.
    ///
    /// # Errors
    /// The page cannot be written.
    pub fn give(&self, output: &OutputArgs) -> Result<(), Failure> {
        if output.json {
            let line = serde_json::to_string(self)
                .map_err(|e| Failure::new(Exit::Failed, format!("JSON: {e}")))?;
            println!("{line}");
        } else {
            print!("{}", self.text());
        }
        output
            .html
            .as_deref()
            .map_or(Ok(()), |path| self.page(path))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let figures = self.figures.iter().map(|f| f.name.chars().count());
        let conditions = self.conditions.0.iter().map(|(n, _)| n.chars().count());
        let width = figures.chain(conditions).max().unwrap_or(0) + 2;
        let _ = writeln!(text, "{}", self.title);
        for (name, value) in &self.conditions.0 {
            let _ = writeln!(text, "  {name:width$}{value}");
        }
        for figure in &self.figures {
            let value = plain(figure.value);
            let _ = writeln!(text, "  {:width$}{value} {}", figure.name, figure.unit);
        }
        text
    }

    fn page(&self, path: &Path) -> Result<(), Failure> {
        let mut page = String::new();
        let title = escaped(&self.title);
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>body{{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}\
             table{{border-collapse:collapse;margin:1em 0}}td,th{{padding:.2em 1em .2em 0;\
             text-align:left;border-bottom:1px solid #ddd}}td.n{{text-align:right}}</style>\
             </head><body>\n<h1>{title}</h1>\n<h2>Conditions</h2>\n<table>\n"
        );
        for (name, value) in &self.conditions.0 {
            let (name, value) = (escaped(name), escaped(value));
            let _ = writeln!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
        }
        let _ = writeln!(page, "</table>\n<h2>Figures</h2>\n<table>");
        for figure in &self.figures {
            let name = escaped(&figure.name);
            let value = plain(figure.value);
            let unit = figure.unit;
            let _ = writeln!(
                page,
                "<tr><th>{name}</th><td class=\"n\">{value}</td><td>{unit}</td></tr>"
            );
        }
        let _ = writeln!(page, "</table>");
        for plot in &self.plots {
            let drawing = draw(plot)
                .map_err(|e| Failure::new(Exit::Failed, format!("plot {}: {e}", plot.title)))?;
            let title = escaped(&plot.title);
            let _ = writeln!(page, "<h2>{title}</h2>\n{drawing}");
        }
        let _ = writeln!(page, "</body></html>");
        std::fs::write(path, page)
            .map_err(|e| Failure::new(Exit::File, format!("{}: {e}", path.display())))
    }
}

/// As many digits as say something.
fn plain(value: f64) -> String {
    let digits = match value.abs() {
        v if v == 0.0 || v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A plot as SVG.
fn draw(plot: &Plot) -> Result<String, Box<dyn std::error::Error>> {
    let mut drawing = String::new();
    let points = || plot.series.iter().flat_map(|s| s.points.iter().copied());
    if points().next().is_none() {
        return Ok("<p>No points.</p>".to_owned());
    }
    let most = |pick: fn((f64, f64)) -> f64| points().map(pick).fold(f64::MIN, f64::max);
    let least = |pick: fn((f64, f64)) -> f64| points().map(pick).fold(f64::MAX, f64::min);
    let (x_low, x_high) = (least(|p| p.0), most(|p| p.0));
    let y = 0.0..(most(|p| p.1) * 1.05).max(f64::MIN_POSITIVE);
    {
        let area = SVGBackend::with_string(&mut drawing, PLOT).into_drawing_area();
        area.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&area);
        builder
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(70);
        if plot.log_x {
            let x = (x_low.max(1e-9)..x_high.max(x_low * 1.01)).log_scale();
            lines(plot, builder.build_cartesian_2d(x, y)?)?;
        } else {
            let x = x_low..x_high.max(x_low + 1e-9);
            lines(plot, builder.build_cartesian_2d(x, y)?)?;
        }
        area.present()?;
    }
    Ok(drawing)
}

fn lines<'a, X>(
    plot: &Plot,
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
) -> Result<(), Box<dyn std::error::Error>>
where
    X: 'a + Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(plot.y)
        .label_style(FONT)
        .axis_desc_style(FONT)
        .light_line_style(WHITE)
        .draw()?;
    for (n, series) in plot.series.iter().enumerate() {
        let colour = Palette99::pick(n).to_rgba();
        chart
            .draw_series(LineSeries::new(
                series.points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(series.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if plot.series.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(FONT)
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("bench <stream>", Conditions::of_machine());
        report.figure("goodput", 9.4321, "Gbit/s");
        for log_x in [false, true] {
            report.plots.push(Plot {
                title: "goodput over time".to_owned(),
                x: "s",
                y: "Gbit/s",
                log_x,
                series: vec![Series {
                    name: "up".to_owned(),
                    points: vec![(0.1, 1.0), (0.2, 9.0)],
                }],
            });
        }
        report
    }

    #[test]
    fn text_has_every_figure_with_its_unit() {
        let text = report().text();
        assert!(text.contains("9.43 Gbit/s"), "{text}");
        assert!(text.contains("kernel"), "{text}");
    }

    #[test]
    fn a_page_stands_alone_and_is_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        report().page(&path).unwrap();
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains("bench &lt;stream&gt;"));
        assert_eq!(page.matches("<svg").count(), 2);
        for reference in ["http-equiv", "src=", "href="] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn a_plot_without_points_or_with_one_is_drawn() {
        let mut plot = report().plots[0].clone();
        plot.series[0].points.truncate(1);
        assert!(draw(&plot).unwrap().contains("<svg"));
        plot.series[0].points.clear();
        assert!(draw(&plot).unwrap().contains("No points"));
    }
}
