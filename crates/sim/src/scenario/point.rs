//! One point of a sweep: devices, models and arrivals, ready to be run under any preset.

use super::{Scenario, ScenarioError, models};
use crate::cost::{CostFile, DeviceCost, ModelCost};
use std::fmt;
use sublet_sched::{Batching, DeviceSpec, ModelSpec};
use sublet_units::{Bytes, Time};
use sublet_workload::{Arrival, Split, Workload};

/// Where a sweep stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub models: Option<u32>,
    pub rate: Option<f64>,
    pub devices: Option<u32>,
}

/// What is run at a point with a seed.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub duration: Time,
    pub warmup: Time,
    pub devices: Vec<(DeviceSpec, DeviceCost)>,
    pub models: Vec<(ModelSpec, ModelCost)>,
    /// Kind of each model.
    pub kinds: Vec<String>,
    /// Deadline of each model's requests, from their arrival.
    pub slos: Vec<Time>,
    /// Deadline of each app and the models of its stages; empty where models are asked for alone.
    pub apps: Vec<(Time, Vec<Vec<u32>>)>,
    /// Added to each latency.
    pub answer: Time,
    /// Of models, or of apps.
    pub arrivals: Vec<Arrival>,
}

/// The deadline where neither the scenario nor the kind gives one.
const SLO: Time = Time::from_millis(100);

impl Point {
    /// Values by name, for reports.
    pub fn coordinates(&self) -> Vec<(&'static str, f64)> {
        let models = self.models.map(|models| ("models", f64::from(models)));
        let devices = self.devices.map(|devices| ("devices", f64::from(devices)));
        let rate = self.rate.map(|rate| ("rate", rate));
        [models, rate, devices].into_iter().flatten().collect()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.coordinates() {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

impl Setup {
    /// `read`: the bytes of a trace's file, or why not.
    pub fn new(
        scenario: &Scenario,
        costs: &CostFile,
        point: Point,
        seed: u64,
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, ScenarioError> {
        let groups = &scenario.models;
        let order = models::interleave(groups, point.models);
        let mut setup = Setup {
            seed,
            duration: scenario.duration,
            warmup: scenario.warmup,
            devices: Vec::new(),
            models: Vec::new(),
            kinds: Vec::new(),
            slos: Vec::new(),
            apps: Vec::new(),
            answer: Time((costs.device.answer_us * 1e3) as u64),
            arrivals: Vec::new(),
        };
        let devices = point.devices.unwrap_or(scenario.cluster.devices);
        let memory = scenario.cluster.budget.unwrap_or(costs.device.memory);
        let lanes = scenario.cluster.lanes.unwrap_or(costs.device.lanes);
        setup.devices = (0..devices).map(|at| costs.device(at, devices, memory, lanes)).collect();
        for &at in &order {
            setup.add_model(scenario, costs, at)?;
        }
        for app in &scenario.apps {
            setup.apps.push((app.slo, models::stages(app, groups, &order)));
        }
        setup.arrivals = arrivals(scenario, &order, point, seed, read)?;
        Ok(setup)
    }

    /// Bytes of all models' weights.
    pub fn bytes(&self) -> Bytes {
        self.models.iter().flat_map(|(spec, _)| &spec.segments).copied().sum()
    }

    fn add_model(
        &mut self,
        scenario: &Scenario,
        costs: &CostFile,
        group_at: usize,
    ) -> Result<(), ScenarioError> {
        let group = &scenario.models[group_at];
        let kind = costs.kind(&group.kind).ok_or_else(|| {
            let what = format!("`{}` is not in the cost model `{}`", group.kind, costs.name);
            ScenarioError::value(format!("models[{group_at}].kind"), what)
        })?;
        let batching = (group.batch_max > 1)
            .then_some(Batching { rows_max: group.batch_max, delay_max: group.batch_delay });
        let (mut spec, cost) = costs.model(kind, batching);
        let slo = group.slo.or(spec.slo).or(scenario.policy.slo).unwrap_or(SLO);
        spec.slo = Some(slo);
        spec.instances = group.instances;
        spec.tenant = group_at as u32;
        self.models.push((spec, cost));
        self.kinds.push(group.kind.clone());
        self.slos.push(slo);
        Ok(())
    }
}

/// The workload's arrivals over the scenario's models, or its apps.
fn arrivals(
    scenario: &Scenario,
    order: &[usize],
    point: Point,
    seed: u64,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Vec<Arrival>, ScenarioError> {
    let groups = &scenario.models;
    let count = match scenario.apps.len() {
        0 => order.len() as u32,
        apps => apps as u32,
    };
    let mut spec = scenario.workload.clone();
    if let Some(rate) = scenario.rate_per_model {
        spec = spec.with_rate(rate * f64::from(count));
    }
    if let (true, true) = (scenario.apps.is_empty(), groups[0].rate.is_some()) {
        let of_group = |at: usize| order.iter().filter(|&&group| group == at).count().max(1) as f64;
        let rate = |&at: &usize| groups[at].rate.unwrap_or(0.0) / of_group(at);
        let weights: Vec<f64> = order.iter().map(rate).collect();
        spec = spec.with_rate(weights.iter().sum());
        spec.split = Split::Explicit { weights };
    }
    if let Some(rate) = point.rate {
        spec = spec.with_rate(rate);
    }
    let workload = Workload::new(&spec, count, seed, read)
        .map_err(|error| ScenarioError::value("workload", error.to_string()))?;
    Ok(workload.schedule(scenario.duration).arrivals)
}
