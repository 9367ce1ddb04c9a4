//! Draws a [`Plot`] as an SVG: axes with ticks and units, a line per series, a legend.

use crate::plot::{Axis, Plot, Point, Scale, Series};
use crate::style;
use crate::text;
use std::fmt::Write;

const WIDTH: f64 = 520.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const HEIGHT: f64 = 250.0;

/// An axis with its ends, mapping values to where they are drawn.
struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// Draws a plot; `None` when no point can be shown.
pub(crate) fn draw(plot: &Plot) -> Option<String> {
    let shown = |point: &&Point| {
        let fits = |axis: &Axis, value: f64| {
            value.is_finite() && (axis.scale == Scale::Linear || value > 0.0)
        };
        fits(&plot.x, point.x) && fits(&plot.y, point.y)
    };
    let points = || plot.series.iter().flat_map(|series| &series.points).filter(shown);
    let ends = |of: &dyn Fn(&Point) -> (f64, f64)| {
        points().map(of).fold((f64::MAX, f64::MIN), |(low, high), (l, h)| (low.min(l), high.max(h)))
    };
    points().next()?;
    let x = Ruler::new(&plot.x, ends(&|p| (p.x, p.x)), LEFT, WIDTH - RIGHT);
    let y_ends = ends(&|p| p.range.unwrap_or((p.y, p.y)));
    let y = Ruler::new(&plot.y, y_ends, TOP + HEIGHT, TOP);
    let (legend, rows) = legend(&plot.series);
    let bottom = TOP + HEIGHT;
    let mut svg = style::open(WIDTH, bottom + 48.0 + 18.0 * rows as f64, &plot.title);
    for tick in y.ticks(6) {
        let at = y.place(tick);
        let _ = write!(
            svg,
            "<line class='grid' x1='{LEFT}' x2='{:.1}' y1='{at:.1}' y2='{at:.1}'/>\
             <text class='end' x='{:.1}' y='{:.1}'>{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            text::number(tick)
        );
    }
    for tick in x.ticks(7) {
        let at = x.place(tick);
        let _ = write!(
            svg,
            "<line class='axis' x1='{at:.1}' x2='{at:.1}' y1='{bottom:.1}' y2='{:.1}'/>\
             <text class='middle' x='{at:.1}' y='{:.1}'>{}</text>",
            bottom + 5.0,
            bottom + 18.0,
            text::number(tick)
        );
    }
    let _ = write!(
        svg,
        "<line class='axis' x1='{LEFT}' x2='{:.1}' y1='{bottom}' y2='{bottom}'/>\
         <text class='middle label' x='{:.1}' y='{:.1}'>{}</text>\
         <text class='middle label' transform='translate(14 {:.1}) rotate(-90)'>{}</text>",
        WIDTH - RIGHT,
        (LEFT + WIDTH - RIGHT) / 2.0,
        bottom + 36.0,
        text::escape(&plot.x.label),
        TOP + HEIGHT / 2.0,
        text::escape(&plot.y.label)
    );
    for (index, series) in plot.series.iter().enumerate() {
        let points: Vec<&Point> = series.points.iter().filter(shown).collect();
        svg.push_str(&line(index, series, &points, &x, &y));
    }
    svg.push_str(&legend);
    svg.push_str("</svg>");
    Some(svg)
}

fn line(index: usize, series: &Series, points: &[&Point], x: &Ruler, y: &Ruler) -> String {
    let mut path = String::new();
    let mut marks = String::new();
    let mut last: Option<f64> = None;
    for point in points {
        let (at_x, at_y) = (x.place(point.x), y.place(point.y));
        match last {
            None => drop(write!(path, "M{at_x:.1} {at_y:.1}")),
            Some(level) if series.steps => {
                let _ = write!(path, "L{at_x:.1} {level:.1}L{at_x:.1} {at_y:.1}");
            }
            Some(_) => drop(write!(path, "L{at_x:.1} {at_y:.1}")),
        }
        last = Some(at_y);
        if series.steps {
            continue;
        }
        if let Some((low, high)) = point.range {
            let _ = write!(
                marks,
                "<line class='s{}' x1='{at_x:.1}' x2='{at_x:.1}' y1='{:.1}' y2='{:.1}'/>",
                index % style::COLOURS,
                y.place(low),
                y.place(high)
            );
        }
        let _ = write!(
            marks,
            "<circle class='{}' cx='{at_x:.1}' cy='{at_y:.1}' r='3.2'><title>{}: {}, {}</title></circle>",
            style::fill(index),
            text::escape(&series.name),
            text::number(point.x),
            text::number(point.y)
        );
    }
    format!("<path class='{}' d='{path}'/>{marks}", style::stroke(index))
}

/// The legend below the axes, and how many rows it takes.
fn legend(series: &[Series]) -> (String, usize) {
    let mut svg = String::new();
    let (mut at, mut row) = (LEFT, 0);
    for (index, series) in series.iter().enumerate() {
        let width = 34.0 + 6.6 * series.name.chars().count() as f64;
        if at > LEFT && at + width > WIDTH {
            at = LEFT;
            row += 1;
        }
        let y = TOP + HEIGHT + 56.0 + 18.0 * f64::from(row);
        let _ = write!(
            svg,
            "<path class='{}' d='M{at:.1} {:.1}h20'/><text x='{:.1}' y='{y:.1}'>{}</text>",
            style::stroke(index),
            y - 4.0,
            at + 25.0,
            text::escape(&series.name)
        );
        at += width;
    }
    (svg, row as usize + 1)
}

impl Ruler {
    fn new(axis: &Axis, (low, high): (f64, f64), from: f64, to: f64) -> Self {
        let scale = axis.scale;
        let (mut low, mut high) = (axis.low.unwrap_or(low), axis.high.unwrap_or(high));
        if low >= high {
            // One value: some room on both sides.
            (low, high) = match scale {
                Scale::Log => (low / 2.0, high * 2.0),
                Scale::Linear => {
                    let room = if high == 0.0 { 1.0 } else { high.abs() / 2.0 };
                    (high.min(low) - room, high.max(low) + room)
                }
            };
        }
        Ruler { scale, low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + (self.to - self.from) * share.clamp(-0.02, 1.02)
    }

    fn ticks(&self, wanted: usize) -> Vec<f64> {
        match self.scale {
            Scale::Linear => style::ticks(self.low, self.high, wanted),
            Scale::Log => {
                let ticks = style::log_ticks(self.low, self.high);
                // Less than two powers of ten inside: round values tell more.
                if ticks.len() < 3 { style::ticks(self.low, self.high, wanted) } else { ticks }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let series = |points: &[(f64, f64)]| Series {
            name: "a <b>".into(),
            points: points.iter().map(|(x, y)| Point::new(*x, *y)).collect(),
            steps: false,
        };
        let plot = |series| Plot {
            title: "t".into(),
            x: Axis::linear("models (count)"),
            y: Axis::log("latency (ms)"),
            series: vec![series],
        };
        assert_eq!(draw(&plot(series(&[(1.0, 0.0), (f64::NAN, 1.0)]))), None);
        let svg = draw(&plot(series(&[(1.0, 0.0), (2.0, 5.0), (3.0, 500.0)]))).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(
            svg.contains("latency (ms)") && svg.contains("a &lt;b&gt;") && !svg.contains("<b>")
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let one = draw(&plot(series(&[(2.0, 5.0)]))).unwrap();
        assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
    }
}
