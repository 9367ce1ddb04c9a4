//! The plots that follow from the rows: results against each coordinate of a sweep, and latency distributions.

use crate::latency::Latency;
use crate::plot::{Axis, Plot, Point, Series};
use crate::report::{Report, Row};
use crate::text;
use std::collections::{BTreeMap, BTreeSet};

/// Distributions drawn in one plot at most; with more, nobody tells them apart.
const DISTRIBUTIONS_MAX: usize = 12;

/// A result that is drawn against a coordinate.
struct Measure {
    title: &'static str,
    axis: fn() -> Axis,
    of: fn(&Row) -> Option<f64>,
}

const MEASURES: &[Measure] = &[
    Measure {
        title: "Attainment",
        axis: || Axis::linear("requests within the objective (%)").between(0.0, 100.0),
        of: |row| row.outcome.attainment().map(|share| share * 100.0),
    },
    Measure {
        title: "Goodput",
        axis: || Axis { low: Some(0.0), ..Axis::linear("goodput (requests/s)") },
        of: |row| Some(row.outcome.goodput()),
    },
    Measure {
        title: "98th percentile of latency",
        axis: || Axis::log("P98 latency (ms)"),
        of: |row| {
            let latency = &row.outcome.latency;
            (latency.count() > 0).then(|| latency.quantile(0.98).as_millis_f64())
        },
    },
    Measure {
        title: "Cold starts",
        axis: || Axis { low: Some(0.0), ..Axis::linear("answers after a swap-in (%)") },
        of: |row| row.outcome.cold_share().map(|share| share * 100.0),
    },
];

/// Every plot of a report: from its rows, then its own.
pub(crate) fn plots(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    for coordinate in varying(report) {
        for measure in MEASURES {
            let plot = against(report, &coordinate, measure);
            // With one point per line there is nothing to see.
            if plot.series.iter().any(|series| series.points.len() > 1) {
                plots.push(plot);
            }
        }
    }
    plots.extend(distributions(report));
    plots.extend(report.plots.iter().cloned());
    plots
}

/// Coordinates with several values, apart from the seed.
pub(crate) fn varying(report: &Report) -> Vec<String> {
    let mut values: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for row in report.whole() {
        for (name, value) in row.at.iter().filter(|(name, _)| *name != "seed") {
            values.entry(name).or_default().insert(value.to_bits());
        }
    }
    let several = values.into_iter().filter(|(_, values)| values.len() > 1);
    several.map(|(name, _)| name.to_owned()).collect()
}

/// One measure against one coordinate, with a line per name and per value of the other coordinates.
fn against(report: &Report, coordinate: &str, measure: &Measure) -> Plot {
    let others: Vec<String> =
        varying(report).into_iter().filter(|name| name != coordinate).collect();
    // Lines in the order of the rows; points in the order of the coordinate; values of several seeds together.
    let mut names: Vec<String> = Vec::new();
    let mut lines: Vec<Vec<(f64, Vec<f64>)>> = Vec::new();
    for row in report.whole() {
        let (Some(&x), Some(y)) = (row.at.get(coordinate), (measure.of)(row)) else { continue };
        let mut name = row.name.clone();
        for other in &others {
            if let Some(value) = row.at.get(other) {
                name = format!("{name}, {other} {}", text::number(*value));
            }
        }
        let line = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            lines.push(Vec::new());
            names.len() - 1
        });
        match lines[line].iter_mut().find(|(known, _)| *known == x) {
            Some((_, ys)) => ys.push(y),
            None => lines[line].push((x, vec![y])),
        }
    }
    let series = names.into_iter().zip(lines).map(|(name, mut line)| {
        line.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let points = line.into_iter().map(|(x, ys)| mean_and_range(x, &ys)).collect();
        Series { name, points, steps: false }
    });
    Plot {
        title: format!("{} against {coordinate}", measure.title),
        x: Axis::linear(text::axis(coordinate)),
        y: (measure.axis)(),
        series: series.collect(),
    }
}

fn mean_and_range(x: f64, ys: &[f64]) -> Point {
    let mean = ys.iter().sum::<f64>() / ys.len() as f64;
    let ends = ys.iter().fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(*y), high.max(*y)));
    Point { x, y: mean, range: (ys.len() > 1).then_some(ends) }
}

/// Latency distributions of the whole, all places of a sweep together, and beside each the one from the real sending.
fn distributions(report: &Report) -> Option<Plot> {
    let mut sums: Vec<(String, Latency)> = Vec::new();
    for row in report.whole() {
        let service =
            row.outcome.service.as_ref().map(|s| (format!("{}, from sending", row.name), s));
        let both = [Some((row.name.clone(), &row.outcome.latency)), service];
        for (name, latency) in both.into_iter().flatten().filter(|(_, l)| l.count() > 0) {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => sum.add(latency),
                None => sums.push((name, latency.clone())),
            }
        }
    }
    if sums.is_empty() {
        return None;
    }
    sums.truncate(DISTRIBUTIONS_MAX);
    let series = sums.iter().map(|(name, latency)| Series {
        name: name.clone(),
        points: slower_than(latency),
        steps: true,
    });
    Some(Plot {
        title: "Latency distribution".to_owned(),
        x: Axis::log("latency (ms)"),
        y: Axis { high: Some(100.0), ..Axis::log("requests slower than this (%)") },
        series: series.collect(),
    })
}

/// For each latency the share of requests that were slower, in percent; at most a few hundred points.
fn slower_than(latency: &Latency) -> Vec<Point> {
    let total = latency.count() as f64;
    let mut points = vec![Point::new(latency.min().as_millis_f64(), 100.0)];
    let (mut within, mut last) = (0, 100.0);
    for (value, count) in latency.buckets() {
        within += count;
        let share = 100.0 * (1.0 - within as f64 / total);
        let end = within == latency.count();
        // A step of less than a hundredth of what is left shows nothing.
        if share < last * 0.99 || end {
            // The last request has nobody slower: the line ends where it is the slowest one.
            let share = if end { 100.0 / total } else { share };
            points.push(Point::new(value.as_millis_f64(), share.min(last)));
            last = share;
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use sublet_units::Time;

    fn row(name: &str, models: f64, seed: f64, in_time: u64) -> Row {
        let mut outcome = Outcome::new(Time::from_secs(1));
        (outcome.requests, outcome.answered, outcome.in_time) = (100, 100, Some(in_time));
        outcome.latency.record_n(Time::from_millis(5), 99);
        outcome.latency.record(Time::from_millis(50));
        Row::new(name, outcome).at("models", models).at("seed", seed)
    }

    #[test]
    fn rows_become_lines_and_seeds_ranges() {
        let mut report = Report::new("sweep");
        for (models, a, b) in [(20.0, 100, 98), (10.0, 100, 100)] {
            report.rows.push(row("sublet", models, 1.0, a));
            report.rows.push(row("sublet", models, 2.0, b));
            report.rows.push(row("fifo-lru", models, 1.0, 50));
        }
        assert_eq!(varying(&report), ["models"]);
        let plots = plots(&report);
        let titles: Vec<_> = plots.iter().map(|plot| plot.title.as_str()).collect();
        assert_eq!(titles[0], "Attainment against models");
        assert!(
            titles.contains(&"Goodput against models") && titles.contains(&"Latency distribution")
        );
        assert!(!titles.contains(&"Cold starts against models"), "nobody knows them");
        let line = &plots[0].series[0];
        assert_eq!((line.name.as_str(), line.points[0].x), ("sublet", 10.0));
        assert_eq!(line.points[1], Point { x: 20.0, y: 99.0, range: Some((98.0, 100.0)) });
        assert_eq!(plots[0].series[1].points[0].range, None);
    }

    #[test]
    fn a_distribution_falls_to_its_slowest_request() {
        let points = slower_than(&row("a", 1.0, 1.0, 1).outcome.latency);
        assert_eq!(points[0].y, 100.0);
        assert!((points[1].y - 1.0).abs() < 1e-9 && (points[1].x - 5.0).abs() < 0.01);
        assert!((points[2].x - 50.0).abs() < 0.1 && points.windows(2).all(|p| p[0].y >= p[1].y));
    }
}
