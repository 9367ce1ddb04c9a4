//! The tables of a scenario's file.

use crate::cost::size;
use serde::{Deserialize, Deserializer};
use sublet_units::{Bytes, Time, span};

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub devices: u32,
    /// Bytes for weights on each device; the cost model's memory by default.
    #[serde(default, deserialize_with = "some_size")]
    pub budget: Option<Bytes>,
    /// Lanes of each device; the cost model's by default.
    #[serde(default)]
    pub lanes: Option<u32>,
}

/// `[[models]]`: so many models of one kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelGroup {
    /// A name of the cost model.
    pub kind: String,
    pub count: u32,
    /// Deadline of its requests; the kind's by default.
    #[serde(default, deserialize_with = "some_span")]
    pub slo: Option<Time>,
    /// Requests per second of the group, over all its models.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Largest batch; 1: no batches.
    #[serde(default = "one")]
    pub batch_max: u32,
    /// How long a batch may wait for more.
    #[serde(default, with = "span")]
    pub batch_delay: Time,
    /// Runs of one model at once.
    #[serde(default)]
    pub instances: Option<u32>,
}

/// `[[app]]`: models asked for together, stage after stage.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    /// Kinds of each stage. A stage begins when all of the one before have answered.
    pub stages: Vec<Vec<String>>,
    /// From the arrival to the last answer.
    #[serde(with = "span")]
    pub slo: Time,
}

/// `[policy]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    #[serde(default)]
    pub presets: Vec<String>,
    /// Deadline of models without one.
    #[serde(default, deserialize_with = "some_span")]
    pub slo: Option<Time>,
    /// Whether hopeless requests are rejected at once.
    #[serde(default)]
    pub admit: bool,
    /// Whether tenants share compute evenly; each kind of models is a tenant.
    #[serde(default)]
    pub fair: bool,
}

/// `[sweep]`: values to run one after the other; every combination where several are given.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Numbers of models, in the proportions of the groups.
    #[serde(default)]
    pub models: Vec<u32>,
    /// Requests per second, all models together.
    #[serde(default)]
    pub rate: Vec<f64>,
    #[serde(default)]
    pub devices: Vec<u32>,
    /// Seeds of each point, from 1 on.
    #[serde(default = "three")]
    pub seeds: u64,
}

impl Default for Sweep {
    fn default() -> Self {
        Sweep { models: Vec::new(), rate: Vec::new(), devices: Vec::new(), seeds: three() }
    }
}

/// `[faults]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    #[serde(default)]
    pub slow_link: Vec<SlowLink>,
    #[serde(default)]
    pub lost_device: Vec<LostDevice>,
    #[serde(default)]
    pub burst: Vec<Burst>,
    #[serde(default)]
    pub cancels: Option<Cancels>,
    /// Percent of loads and of runs that fail.
    #[serde(default)]
    pub load_fails: u32,
    #[serde(default)]
    pub run_fails: u32,
    /// Percent of segments whose copy takes ten times as long.
    #[serde(default)]
    pub slow_copies: u32,
}

/// A host link that copies slower for a while.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowLink {
    pub device: u32,
    #[serde(with = "span")]
    pub from: Time,
    #[serde(with = "span")]
    pub until: Time,
    /// Share of its rate that is left.
    pub speed: f64,
}

/// A device that is gone from some time on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostDevice {
    pub device: u32,
    #[serde(with = "span")]
    pub at: Time,
}

/// Requests beside the workload, for one model drawn by the seed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    #[serde(with = "span")]
    pub at: Time,
    pub requests: u32,
}

/// Clients that give up.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancels {
    pub percent: u32,
    /// After so long at most, drawn for each.
    #[serde(with = "span")]
    pub within: Time,
}

fn one() -> u32 {
    1
}

fn three() -> u64 {
    3
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    size(deserializer).map(Some)
}

fn some_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    span::deserialize(deserializer).map(Some)
}
