//! Cost models as files: TOML written by hand from published tables, or JSON written by the engine from what it measured.
//!
//! Both have the same keys. Times are in milliseconds or microseconds as the key's name says, sizes in bytes or with a unit.

use super::runs::RunCurve;
use super::{DeviceCost, ModelCost, ONE, SharedLink};
use serde::{Deserialize, Deserializer, Serialize};
use sublet_sched::{Batching, DeviceSpec, ModelSpec, Peer, ProfilePoint};
use sublet_units::{Bytes, DeviceId, Time};
use thiserror::Error;

/// What a kind of machine costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostFile {
    pub name: String,
    /// Where the figures come from.
    #[serde(default)]
    pub source: String,
    pub device: RunCosts,
    pub links: LinkCosts,
    #[serde(rename = "model")]
    pub models: Vec<ModelKind>,
}

/// How one device of the kind runs and keeps models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunCosts {
    /// For weights, unless a scenario gives less.
    #[serde(deserialize_with = "size")]
    pub memory: Bytes,
    #[serde(deserialize_with = "size")]
    pub page: Bytes,
    /// Weights are copied, and become ready, in pieces of this size.
    #[serde(deserialize_with = "size")]
    pub segment: Bytes,
    #[serde(default = "one")]
    pub lanes: u32,
    /// Added to each run.
    #[serde(default)]
    pub launch_us: f64,
    /// Added to each answer, while the lane goes on.
    #[serde(default)]
    pub answer_us: f64,
    /// By how much each further lane that computes slows a run down: 0 for not at all, 1 where lanes share time.
    #[serde(default = "whole")]
    pub interference: f64,
    #[serde(default)]
    pub partition_interference: f64,
    /// How much a run's time varies, either way.
    #[serde(default)]
    pub jitter: f64,
    /// Instead of a jitter: factors of a model's run time in the order in which they were measured, so that slow phases
    /// stay together. Each simulation goes through them from a place of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<f64>,
    /// Whether runs compute while the rest of their weights arrive.
    #[serde(default = "yes")]
    pub overlap: bool,
    /// Whether compute can be divided.
    #[serde(default)]
    pub partitions: bool,
}

/// How weights come to a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkCosts {
    /// Bytes per second from the host, of one device alone.
    #[serde(deserialize_with = "size")]
    pub host_rate: Bytes,
    /// Added to the copy of each segment.
    #[serde(default)]
    pub copy_overhead_us: f64,
    /// Added to the first segment of each load.
    #[serde(default)]
    pub load_setup_us: f64,
    /// Devices that share one switch on the way from the host, and its rate; 0: each has a way of its own.
    #[serde(default)]
    pub switch_devices: u32,
    #[serde(default, deserialize_with = "size")]
    pub switch_rate: Bytes,
    /// Devices of one server, which can copy from each other; and the rate of that. 0: they cannot.
    #[serde(default)]
    pub server_devices: u32,
    #[serde(default, deserialize_with = "size")]
    pub peer_rate: Bytes,
}

/// One kind of model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelKind {
    pub name: String,
    #[serde(deserialize_with = "size")]
    pub bytes: Bytes,
    /// Instead of pieces of the device's segment size: the real ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<u64>,
    /// What loading all of it was measured to take; by default it follows from the links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<f64>,
    /// Rows and milliseconds of warm runs, by rows.
    pub runs: Vec<(u32, f64)>,
    /// The same on partitions, by percent of the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ShareRuns>,
    /// The usual deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo_ms: Option<f64>,
}

/// Runs on a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRuns {
    pub share: u32,
    pub runs: Vec<(u32, f64)>,
}

/// Why a cost model means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CostError {
    #[error("{0}")]
    Syntax(String),
    #[error("`{key}` {what}")]
    Value { key: String, what: String },
}

impl CostFile {
    /// Reads TOML.
    pub fn from_toml(text: &str) -> Result<Self, CostError> {
        toml::from_str::<CostFile>(text)
            .map_err(|error| CostError::Syntax(error.to_string()))?
            .checked()
    }

    /// Reads the JSON of a profile.
    pub fn from_json(text: &str) -> Result<Self, CostError> {
        serde_json::from_str::<CostFile>(text)
            .map_err(|error| CostError::Syntax(error.to_string()))?
            .checked()
    }

    pub fn kind(&self, name: &str) -> Option<&ModelKind> {
        self.models.iter().find(|kind| kind.name == name)
    }

    /// Device number `index` of `count`, with so many bytes for weights.
    pub fn device(
        &self,
        index: u32,
        count: u32,
        memory: Bytes,
        lanes: u32,
    ) -> (DeviceSpec, DeviceCost) {
        let (run, links) = (&self.device, &self.links);
        let server = index.checked_div(links.server_devices).unwrap_or(0);
        let switch = (links.switch_devices > 0).then(|| index / links.switch_devices);
        let has_peers = links.peer_rate.0 > 0;
        let is_peer = |other: &u32| {
            *other != index && other.checked_div(links.server_devices).unwrap_or(0) == server
        };
        let peers = (0..count).filter(|other| has_peers && is_peer(other));
        let spec = DeviceSpec {
            page_bytes: run.page,
            pages: u32::try_from(memory.0 / run.page.0).unwrap_or(u32::MAX),
            lanes,
            link_rate: self.copy_rate(),
            switch,
            peers: peers
                .map(|other| Peer { device: DeviceId(other), rate: links.peer_rate.0 })
                .collect(),
            partitions: run.partitions,
        };
        let cost = DeviceCost {
            lanes,
            host_rate: links.host_rate.0,
            copy_overhead: micros(links.copy_overhead_us),
            load_setup: micros(links.load_setup_us),
            switch: switch.map(|id| SharedLink { id, rate: links.switch_rate.0 }),
            peer_rate: links.peer_rate.0,
            server,
            launch: micros(run.launch_us),
            interference: parts(run.interference),
            partition_interference: parts(run.partition_interference),
            jitter: parts(run.jitter),
            spread: run.spread.iter().copied().map(parts).collect(),
            overlaps: run.overlap,
        };
        (spec, cost)
    }

    /// A model of a kind, its profile known to the scheduler.
    pub fn model(&self, kind: &ModelKind, batching: Option<Batching>) -> (ModelSpec, ModelCost) {
        let segments = match kind.segments.is_empty() {
            true => cut(kind.bytes, self.device.segment),
            false => kind.segments.iter().copied().map(Bytes).collect(),
        };
        let mut cost = ModelCost::even(segments.clone(), curve(&kind.runs));
        cost.shares = kind.shares.iter().map(|part| (part.share, curve(&part.runs))).collect();
        cost.copy_rate = kind.load_ms.map(|ms| (kind.bytes.0 as f64 / ms * 1e3) as u64);
        cost.shares.sort_by_key(|&(share, _)| share);
        let rows_max = batching.map_or(1, |batching| batching.rows_max);
        let launch = micros(self.device.launch_us);
        let mut rows = 1;
        let mut profile = Vec::new();
        while rows < rows_max * 2 {
            let rows_now = rows.min(rows_max);
            let whole = (100, cost.runs.time(rows_now));
            let parts = cost.shares.iter().map(|(share, runs)| (*share, runs.time(rows_now)));
            for (share, time) in parts.filter(|&(share, _)| share < 100).chain([whole]) {
                profile.push(ProfilePoint { rows: rows_now, share, time: time + launch });
            }
            rows *= 2;
        }
        let spec = ModelSpec {
            segments,
            batching,
            slo: kind.slo_ms.map(millis),
            profile,
            ..ModelSpec::default()
        };
        (spec, cost)
    }

    /// Bytes per second of whole segments, with what each costs besides.
    pub fn copy_rate(&self) -> u64 {
        let bytes = self.device.segment.0.max(1);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.links.host_rate.0.max(1))
            + u128::from(micros(self.links.copy_overhead_us).0);
        (u128::from(bytes) * 1_000_000_000 / nanos.max(1)) as u64
    }

    fn checked(self) -> Result<Self, CostError> {
        let refuse = |key: &str, what: &str| {
            Err(CostError::Value { key: key.to_owned(), what: what.to_owned() })
        };
        let sizes = [
            ("device.memory", self.device.memory),
            ("device.page", self.device.page),
            ("device.segment", self.device.segment),
            ("links.host_rate", self.links.host_rate),
        ];
        if let Some((key, _)) = sizes.iter().find(|(_, bytes)| bytes.0 == 0) {
            return refuse(key, "must not be zero");
        }
        if self.links.switch_devices > 0 && self.links.switch_rate.0 == 0 {
            return refuse("links.switch_rate", "is missing although devices share switches");
        }
        if self.device.lanes == 0 {
            return refuse("device.lanes", "must not be zero");
        }
        let factors = [
            ("device.launch_us", self.device.launch_us),
            ("device.answer_us", self.device.answer_us),
            ("device.interference", self.device.interference),
            ("device.partition_interference", self.device.partition_interference),
            ("device.jitter", self.device.jitter),
            ("links.copy_overhead_us", self.links.copy_overhead_us),
            ("links.load_setup_us", self.links.load_setup_us),
        ];
        for (key, value) in factors {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(key, "must be a number from 0 on");
            }
        }
        if !self.device.spread.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
            return refuse("device.spread", "must be positive factors");
        }
        for (at, kind) in self.models.iter().enumerate() {
            let key = |field: &str| format!("model {}.{field}", kind.name);
            if self.models[..at].iter().any(|other| other.name == kind.name) {
                return refuse(&key("name"), "is given twice");
            }
            let total: u64 = kind.segments.iter().sum();
            if !kind.segments.is_empty() && total != kind.bytes.0 {
                return refuse(&key("segments"), "do not add up to `bytes`");
            }
            if kind.load_ms.is_some_and(|ms| !(ms.is_finite() && ms > 0.0)) {
                return refuse(&key("load_ms"), "must be positive");
            }
            let parts = kind.shares.iter().map(|part| &part.runs);
            for runs in std::iter::once(&kind.runs).chain(parts) {
                let ascends = runs.windows(2).all(|pair| pair[0].0 < pair[1].0);
                let positive =
                    runs.iter().all(|&(rows, ms)| rows > 0 && ms.is_finite() && ms > 0.0);
                if runs.is_empty() || !ascends || !positive {
                    return refuse(&key("runs"), "must be [rows, milliseconds] pairs by rows");
                }
            }
        }
        Ok(self)
    }
}

/// Pieces of `segment` bytes, the last one what is left.
fn cut(bytes: Bytes, segment: Bytes) -> Vec<Bytes> {
    let whole = bytes.0 / segment.0;
    let rest = bytes.0 % segment.0;
    let mut segments = vec![segment; whole as usize];
    if rest > 0 {
        segments.push(Bytes(rest));
    }
    segments
}

fn curve(runs: &[(u32, f64)]) -> RunCurve {
    let points: Vec<_> = runs.iter().map(|&(rows, ms)| (rows, millis(ms))).collect();
    RunCurve::new(&points)
}

fn millis(ms: f64) -> Time {
    Time((ms * 1e6).round() as u64)
}

fn micros(us: f64) -> Time {
    Time((us * 1e3).round() as u64)
}

fn parts(factor: f64) -> u32 {
    (factor * ONE as f64).round().min(f64::from(u32::MAX)) as u32
}

fn one() -> u32 {
    1
}

fn whole() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

/// A number of bytes, or text with a unit.
pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(Bytes(bytes)),
        Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        name = "small"
        device = { memory = "1GB", page = "1MB", segment = "4MB", launch_us = 50, jitter = 0.01 }
        links = { host_rate = "10GB", copy_overhead_us = 100, switch_devices = 2, switch_rate = "12GB" }
        [[model]]
        name = "a"
        bytes = "10MB"
        runs = [[1, 2.0], [8, 9.0]]
    "#;

    #[test]
    fn a_file_says_what_devices_and_models_cost() {
        let file = CostFile::from_toml(SMALL).unwrap();
        let (spec, cost) = file.device(3, 4, Bytes(500_000_000), 2);
        assert_eq!((spec.pages, spec.lanes, spec.switch), (500, 2, Some(1)));
        assert_eq!(spec.link_rate, 8_000_000_000);
        assert_eq!(cost.launch, Time::from_micros(50));
        let batching = Batching { rows_max: 8, delay_max: Time::ZERO };
        let (spec, cost) = file.model(file.kind("a").unwrap(), Some(batching));
        assert_eq!(spec.segments, [4_000_000, 4_000_000, 2_000_000].map(Bytes));
        assert_eq!(cost.runs.time(8), Time::from_millis(9));
        let rows: Vec<u32> = spec.profile.iter().map(|point| point.rows).collect();
        assert_eq!(rows, [1, 2, 4, 8]);
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(CostFile::from_json(&json).unwrap(), file);
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_key() {
        let refused = |from: &str, to: &str| {
            CostFile::from_toml(&SMALL.replace(from, to)).unwrap_err().to_string()
        };
        assert!(refused("\"10GB\"", "0").contains("links.host_rate"));
        assert!(refused("[8, 9.0]", "[1, 9.0]").contains("model a.runs"));
        assert!(refused("switch_rate = \"12GB\"", "").contains("switch_rate"));
        assert!(refused("jitter", "jiter").contains("jiter"));
        assert!(refused("jitter = 0.01", "spread = [1.0, 0.0]").contains("device.spread"));
        assert!(refused("\"4MB\"", "\"4 parsecs\"").contains("parsecs"));
    }
}
