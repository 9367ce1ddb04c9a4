//! The requests of a live run on the virtual clock.

use super::live::{Session, Terms};
use anyhow::Result;
use sublet_report::Outcome;
use sublet_sched::{Command, Config, Event, Preset, Request};
use sublet_sim::{CostFile, Ended, Machine, Observe, World};
use sublet_units::{BatchKey, RequestId, Time};

/// The engine's default priority.
const PRIORITY: u32 = 100;
/// Simulations of one run, each with run times drawn anew.
const DRAWS: u64 = 16;

/// Notes when requests end.
struct Recorder {
    outcome: Outcome,
    /// When each request arrived, by its number; those of the warm-up come first.
    arrived: Vec<Time>,
    warm_up: usize,
    answer: Time,
    slo: Time,
}

impl Observe for Recorder {
    const WATCHES: bool = false;

    fn commanded(&mut self, _: Time, command: &Command) {
        if let Command::Reject { reason, .. } = command {
            *self.outcome.errors.entry(format!("{reason:?}")).or_default() += 1;
        }
    }

    fn ended(&mut self, now: Time, ended: &Ended) {
        for request in ended.requests.iter().filter(|id| id.0 as usize >= self.warm_up) {
            let latency = now + self.answer - self.arrived[request.0 as usize];
            self.outcome.answered += 1;
            self.outcome.latency.record(latency);
            let count = |sum: &mut Option<u64>, is: bool| *sum = sum.map(|n| n + u64::from(is));
            count(&mut self.outcome.in_time, latency <= self.slo);
            count(&mut self.outcome.cold, ended.cold);
        }
    }
}

/// What is to become of the requests of `live`, sent when they were: several draws, taken together.
pub fn run(costs: &CostFile, terms: Terms, live: &Session) -> Result<Outcome> {
    let mut sum = Outcome::default();
    for seed in 0..DRAWS {
        sum.add(&draw(costs, terms, live, seed)?, true);
    }
    Ok(sum)
}

/// One draw, after one request to each model as in the live run. The scheduler knows no more of the models than the live
/// one: what runs take it learns.
fn draw(costs: &CostFile, terms: Terms, live: &Session, seed: u64) -> Result<Outcome> {
    let recorder = Recorder {
        outcome: Outcome { in_time: Some(0), cold: Some(0), ..Outcome::new(live.span) },
        arrived: Vec::new(),
        warm_up: costs.models.len(),
        answer: Time((costs.device.answer_us * 1e3) as u64),
        slo: terms.slo,
    };
    let config = Config::new(Preset::Sublet, crate::engines::SLO);
    let mut world = World::new(config, Machine::new(seed), recorder);
    let (spec, cost) = costs.device(0, 1, terms.memory, costs.device.lanes);
    world.add_device(spec, cost)?;
    let mut models = Vec::new();
    for kind in &costs.models {
        let (mut spec, cost) = costs.model(kind, None);
        spec.profile.clear();
        models.push(world.add_model(spec, cost)?);
    }
    let arrive = |world: &mut World<Recorder>, model: usize, patience: Option<Time>| {
        let (id, now) = (world.observer.arrived.len() as u64, world.now());
        world.observer.arrived.push(now);
        world.step(Event::Arrived(Request {
            id: RequestId(id),
            model: models[model],
            // Nothing is batched.
            key: BatchKey(id),
            rows: 1,
            deadline: Some(now + terms.slo),
            expires: patience.map(|patience| now + patience),
            priority: PRIORITY,
        }))
    };
    for model in 0..costs.models.len() {
        arrive(&mut world, model, None)?;
        world.drain()?;
    }
    let start = world.now();
    for asked in &live.asked {
        world.advance(start + asked.sent)?;
        world.observer.outcome.requests += 1;
        arrive(&mut world, asked.model as usize, terms.patience)?;
    }
    world.drain()?;
    Ok(world.into_observer().outcome)
}
