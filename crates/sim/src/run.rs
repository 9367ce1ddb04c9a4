//! Running a setup under one preset, and what becomes of each request.

mod faults;
mod recorder;
mod tracer;

use crate::machine::{Machine, Trouble};
use crate::observe::Observe;
use crate::scenario::{Policies, Scenario, Setup};
use crate::world::{Violation, World};
use faults::{Act, Plan};
use recorder::Recorder;
use std::collections::BTreeMap;
use sublet_report::{Outcome, Timeline};
use sublet_sched::{Config, Event, Preset};
use sublet_units::{Bytes, DeviceId, Time};
use tracer::Tracer;

/// What a simulation came to.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Requests that count: those (or apps) that arrived after the warm-up.
    pub outcome: Outcome,
    /// The latency that 98 % of all counted requests do not exceed; requests that were not answered never end.
    pub p98: Time,
    /// Of each model: requests that count, and how many of them were answered in time.
    pub models: Vec<(u64, u64)>,
    /// Counted latencies by kind of model, for tables.
    pub kinds: BTreeMap<String, Outcome>,
    /// Events that the scheduler was told.
    pub steps: u64,
    pub loads: u64,
    pub copied: Bytes,
}

/// Share of a model's requests that must be in time for it to be compliant (Torpor, section 2).
pub const COMPLIANT: f64 = 0.98;

impl Simulated {
    /// Models with requests, and how many of those are compliant.
    pub fn compliant(&self) -> (u64, u64) {
        let asked = self.models.iter().filter(|(requests, _)| *requests > 0);
        let is_compliant =
            |&&(requests, in_time): &&(u64, u64)| in_time as f64 >= COMPLIANT * requests as f64;
        (asked.clone().count() as u64, asked.filter(is_compliant).count() as u64)
    }

    pub fn attainment(&self) -> f64 {
        self.outcome.attainment().unwrap_or(1.0)
    }
}

/// Runs a setup of a scenario under a preset.
pub fn simulate(
    scenario: &Scenario,
    setup: &Setup,
    preset: Preset,
) -> Result<Simulated, Violation> {
    run(scenario, setup, preset, ()).map(|(simulated, ())| simulated)
}

/// As [`simulate`], and draws what happened between two times.
pub fn trace(
    scenario: &Scenario,
    setup: &Setup,
    preset: Preset,
    (begin, end): (Time, Time),
) -> Result<(Simulated, Timeline), Violation> {
    let tracer = Tracer::new(begin, end, setup.kinds.clone());
    let (simulated, tracer) = run(scenario, setup, preset, tracer)?;
    Ok((simulated, tracer.timeline(format!("{} under {preset}", scenario.name))))
}

fn run<O: Observe>(
    scenario: &Scenario,
    setup: &Setup,
    preset: Preset,
    observer: O,
) -> Result<(Simulated, O), Violation> {
    let config = config(&scenario.policy, setup, preset);
    let mut machine = Machine::new(setup.seed);
    let faults = &scenario.faults;
    machine.set_trouble(Trouble {
        load_fails: faults.load_fails,
        fatal: 0,
        run_fails: faults.run_fails,
        slow_copies: faults.slow_copies,
    });
    let mut world = World::new(config, machine, (Recorder::new(setup), observer));
    for (spec, cost) in &setup.devices {
        world.add_device(spec.clone(), cost.clone())?;
    }
    for (spec, cost) in &setup.models {
        world.add_model(spec.clone(), cost.clone())?;
    }
    let mut plan = Plan::new(faults, setup);
    for arrival in &setup.arrivals {
        while let Some((at, act)) = plan.pop_until(arrival.at) {
            world.advance(at)?;
            perform(&mut world, act)?;
        }
        world.advance(arrival.at)?;
        let first = world.observer.0.requests();
        ask(&mut world, arrival.model)?;
        plan.consider(arrival.at, first, world.observer.0.requests());
    }
    while let Some((at, act)) = plan.pop_until(Time::MAX) {
        world.advance(at)?;
        perform(&mut world, act)?;
    }
    world.drain()?;
    let steps = world.steps();
    let (recorder, observer) = world.into_observer();
    Ok((recorder.conclude(setup, steps), observer))
}

/// A request for a model, or for all of an app's first stage.
fn ask<O: Observe>(world: &mut World<(Recorder, O)>, what: u32) -> Result<(), Violation> {
    let now = world.now();
    world.observer.0.ask(now, what);
    while let Some(request) = world.observer.0.next_request() {
        world.step(Event::Arrived(request))?;
    }
    Ok(())
}

fn perform<O: Observe>(world: &mut World<(Recorder, O)>, act: Act) -> Result<(), Violation> {
    match act {
        Act::SetSpeed(device, speed) => world.machine().slow_link(device, speed),
        Act::Lose(device) => {
            world.lose_device(device)?;
        }
        Act::Ask { model, requests } => {
            for _ in 0..requests {
                ask(world, model)?;
            }
        }
        Act::Cancel(request) => world.step(Event::Cancelled { request })?,
    }
    Ok(())
}

fn config(policy: &Policies, setup: &Setup, preset: Preset) -> Config {
    let slo = policy.slo.or(setup.slos.iter().max().copied()).unwrap_or(Time::from_millis(100));
    let queue_max = (setup.models.len() * 100).max(10_000);
    let config = Config::new(preset, slo);
    Config {
        queue_max,
        admit: policy.admit && preset == Preset::Sublet,
        fair: policy.fair && preset == Preset::Sublet,
        ..config
    }
}

/// Devices by number.
pub(crate) fn device(number: u32) -> DeviceId {
    DeviceId(number)
}
