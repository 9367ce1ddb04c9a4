//! What a plot shows, apart from how it is drawn.

use serde::{Deserialize, Serialize};

/// Lines over one pair of axes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// An axis with what it measures and in what unit, such as `latency (ms)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    pub label: String,
    #[serde(default)]
    pub scale: Scale,
    /// Ends that are wanted; the data decides otherwise.
    #[serde(default)]
    pub low: Option<f64>,
    #[serde(default)]
    pub high: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    #[default]
    Linear,
    /// Only positive values are drawn.
    Log,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
    /// Drawn as steps, and without a mark at each point.
    #[serde(default)]
    pub steps: bool,
}

/// A point, with the ends of its interval where several runs gave several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
}

impl Axis {
    pub fn linear(label: impl Into<String>) -> Self {
        Axis { label: label.into(), ..Axis::default() }
    }

    pub fn log(label: impl Into<String>) -> Self {
        Axis { label: label.into(), scale: Scale::Log, ..Axis::default() }
    }

    /// The same axis from `low` to `high`.
    pub fn between(self, low: f64, high: f64) -> Self {
        Axis { low: Some(low), high: Some(high), ..self }
    }
}

impl Point {
    pub fn new(x: f64, y: f64) -> Self {
        Point { x, y, range: None }
    }
}
