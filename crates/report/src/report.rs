//! The report itself: what was run, and a row per result.

use crate::outcome::Outcome;
use crate::plot::Plot;
use crate::timeline::Timeline;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A report that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("this is no report: {0}")]
pub struct ReportError(#[from] serde_json::Error);

/// What was run and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub title: String,
    /// What was run, as name and value in the order shown: workload, seed, devices, hardware, …
    pub about: Vec<(String, String)>,
    pub rows: Vec<Row>,
    /// Single numbers, such as what generating the load cost.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
    /// Plots beyond those that follow from the rows.
    #[serde(default)]
    pub plots: Vec<Plot>,
    #[serde(default)]
    pub timelines: Vec<Timeline>,
    /// Sentences that a reader must know, such as bars that were missed.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is compared: a policy or a target.
    pub name: String,
    /// A model of it; `None` is the whole. Plots are drawn from whole rows.
    #[serde(default)]
    pub part: Option<String>,
    /// Where in a sweep this row lies: `models`, `rate`, `seed`, … Runs that differ in `seed` alone are drawn as one.
    #[serde(default)]
    pub at: BTreeMap<String, f64>,
    pub outcome: Outcome,
}

impl Report {
    pub fn new(title: impl Into<String>) -> Self {
        Report { title: title.into(), ..Report::default() }
    }

    /// States what was run.
    pub fn about(&mut self, name: impl Into<String>, value: impl ToString) {
        self.about.push((name.into(), value.to_string()));
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only text keys")
    }

    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        Ok(serde_json::from_str(text)?)
    }

    /// Rows of the whole, in order.
    pub(crate) fn whole(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.part.is_none())
    }
}

impl Row {
    /// A row of the whole.
    pub fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Row { name: name.into(), part: None, at: BTreeMap::new(), outcome }
    }

    /// The same row for one part.
    pub fn of_part(self, part: impl Into<String>) -> Self {
        Row { part: Some(part.into()), ..self }
    }

    /// The same row at a place of a sweep.
    pub fn at(mut self, coordinate: impl Into<String>, value: f64) -> Self {
        self.at.insert(coordinate.into(), value);
        self
    }
}
