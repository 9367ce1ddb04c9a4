//! Scenarios: what is simulated, as TOML.
//!
//! A scenario names a cost model, a cluster, its models, a workload and the policies to compare; a sweep makes several
//! points of it. `docs/simulate.md` explains every key.

mod models;
mod point;
mod tables;

pub use point::{Point, Setup};
pub use tables::{
    App, Burst, Cancels, Cluster, Faults, LostDevice, ModelGroup, Policies, SlowLink, Sweep,
};

use serde::Deserialize;
use sublet_sched::Preset;
use sublet_units::{Time, span};
use sublet_workload::WorkloadSpec;
use thiserror::Error;

/// A scenario as written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    #[serde(default)]
    pub about: String,
    /// File of the cost model, relative to the scenario's.
    pub cost: String,
    /// How long requests arrive.
    #[serde(with = "span")]
    pub duration: Time,
    /// Requests that arrive before this are served but not counted.
    #[serde(default, with = "span")]
    pub warmup: Time,
    pub cluster: Cluster,
    pub models: Vec<ModelGroup>,
    /// Chains of models that answer one request together; without any, each model is asked for alone.
    #[serde(default, rename = "app")]
    pub apps: Vec<App>,
    pub workload: WorkloadSpec,
    /// Requests per second and model: the workload's rate follows the number of models.
    #[serde(default)]
    pub rate_per_model: Option<f64>,
    #[serde(default)]
    pub policy: Policies,
    #[serde(default)]
    pub sweep: Sweep,
    #[serde(default)]
    pub faults: Faults,
}

/// Why a scenario means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    #[error("{0}")]
    Syntax(String),
    #[error("`{key}` {what}")]
    Value { key: String, what: String },
}

impl ScenarioError {
    pub(crate) fn value(key: impl Into<String>, what: impl Into<String>) -> Self {
        ScenarioError::Value { key: key.into(), what: what.into() }
    }
}

impl Scenario {
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Scenario =
            toml::from_str(text).map_err(|error| ScenarioError::Syntax(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The presets to compare; all where none are named.
    pub fn presets(&self) -> Result<Vec<Preset>, ScenarioError> {
        if self.policy.presets.is_empty() {
            return Ok(Preset::ALL.to_vec());
        }
        let parse = |name: &String| {
            name.parse::<Preset>().map_err(|what| ScenarioError::value("policy.presets", what))
        };
        self.policy.presets.iter().map(parse).collect()
    }

    /// Every combination of the sweep's values, in order; one point where nothing is swept.
    pub fn points(&self) -> Vec<Point> {
        let or_none = |count: usize| if count == 0 { 1 } else { count };
        let mut points = Vec::new();
        for models in 0..or_none(self.sweep.models.len()) {
            for rate in 0..or_none(self.sweep.rate.len()) {
                for devices in 0..or_none(self.sweep.devices.len()) {
                    points.push(Point {
                        models: self.sweep.models.get(models).copied(),
                        rate: self.sweep.rate.get(rate).copied(),
                        devices: self.sweep.devices.get(devices).copied(),
                    });
                }
            }
        }
        points
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let refuse = |key: &str, what: &str| Err(ScenarioError::value(key, what));
        if self.duration <= self.warmup {
            return refuse("warmup", "leaves nothing of `duration` to measure");
        }
        if self.cluster.devices == 0 {
            return refuse("cluster.devices", "must not be zero");
        }
        if self.models.is_empty() || self.models.iter().all(|group| group.count == 0) {
            return refuse("models", "names no models");
        }
        let rated = self.models.iter().filter(|group| group.rate.is_some()).count();
        if rated != 0 && rated != self.models.len() {
            return refuse("models.rate", "is given for some models and not for others");
        }
        if rated != 0 && self.rate_per_model.is_some() {
            return refuse("rate_per_model", "is given beside `models.rate`");
        }
        if rated != 0 && !self.sweep.models.is_empty() {
            return refuse("sweep.models", "is given beside `models.rate`");
        }
        if self.rate_per_model.is_some() && !self.sweep.rate.is_empty() {
            return refuse("sweep.rate", "is given beside `rate_per_model`");
        }
        for (at, app) in self.apps.iter().enumerate() {
            if app.stages.is_empty() || app.stages.iter().any(Vec::is_empty) {
                return refuse(&format!("app[{at}].stages"), "has an empty stage");
            }
            for kind in app.stages.iter().flatten() {
                if !self.models.iter().any(|group| group.kind == *kind && group.count > 0) {
                    let what = format!("names `{kind}`, which is not among the models");
                    return refuse(&format!("app[{at}].stages"), &what);
                }
            }
        }
        self.presets().map(|_| ())
    }
}
