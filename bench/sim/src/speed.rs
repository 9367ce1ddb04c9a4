//! How fast the simulator is: simulated requests per second of one core, checkers off.

use crate::library::Library;
use anyhow::{Context, Result, anyhow, ensure};
use std::time::Instant;
use sublet_sched::{Config, Event, Preset, Request};
use sublet_sim::{CostFile, Ended, Machine, ModelKind, Observe, World};
use sublet_units::{BatchKey, Bytes, ModelId, RequestId, Time};
use sublet_workload::{Process, Split, Workload, WorkloadSpec};

/// A world to measure.
struct Size {
    name: &'static str,
    devices: u32,
    models: u32,
    /// Share of all weights that fits into all devices together.
    fits: f64,
    /// Mean share of time that each device computes, were all warm.
    load: f64,
    split: fn() -> Split,
    /// The bar, in requests per second.
    least: Option<f64>,
}

const SIZES: &[Size] = &[
    Size {
        name: "4 GPUs × 500 models, all fit",
        devices: 4,
        models: 500,
        fits: 1.2,
        load: 0.6,
        split: || Split::Uniform,
        least: Some(1e6),
    },
    Size {
        name: "4 GPUs × 500 models, half fits, Zipf 0.9",
        devices: 4,
        models: 500,
        fits: 0.5,
        load: 0.2,
        split: || Split::Zipf { exponent: 0.9 },
        least: None,
    },
    Size {
        name: "1,000 GPUs × 10,000 models, all fit",
        devices: 1_000,
        models: 10_000,
        fits: 1.2,
        load: 0.6,
        split: || Split::Zipf { exponent: 0.6 },
        least: None,
    },
];

/// Counts what ends; nothing else is kept.
#[derive(Default)]
struct Count {
    ended: u64,
    cold: u64,
}

impl Observe for Count {
    const WATCHES: bool = false;

    fn ended(&mut self, _: Time, ended: &Ended) {
        self.ended += ended.requests.len() as u64;
        self.cold += if ended.cold { ended.requests.len() as u64 } else { 0 };
    }
}

/// What one simulation of a world took.
#[derive(Clone, Copy)]
struct Round {
    /// Requests per second of the time that the core spent on it, and of all time that passed.
    by_core: f64,
    by_clock: f64,
    ended: u64,
    cold: u64,
    steps: u64,
    simulated: Time,
}

/// Simulates each world `rounds` times, in turns, so that what else the machine does meanwhile falls on all of them.
pub fn run(
    library: &Library,
    requests: u64,
    rounds: usize,
    filter: &str,
    preset: Preset,
) -> Result<()> {
    let costs = library.costs("costs/h200.toml")?;
    let sizes: Vec<&Size> = SIZES.iter().filter(|size| size.name.contains(filter)).collect();
    let mut results: Vec<Vec<Round>> = vec![Vec::new(); sizes.len()];
    for _ in 0..rounds.max(1) {
        for (size, results) in sizes.iter().zip(&mut results) {
            results.push(simulate(&costs, size, requests, preset)?);
        }
    }
    let mut missed = 0;
    for (size, results) in sizes.iter().zip(results) {
        let first = results[0];
        let same = |round: &Round| (round.steps, round.ended) == (first.steps, first.ended);
        ensure!(results.iter().all(same), "{}: the simulation does not repeat", size.name);
        let by_core = spread(results.iter().map(|round| round.by_core));
        let by_clock = spread(results.iter().map(|round| round.by_clock));
        println!(
            "{}: {requests} requests at {:.0} per second of simulated time, {} ended, {:.2} % cold, {} events, \
             {:.0} s simulated",
            size.name,
            size.rate(&costs),
            first.ended,
            first.cold as f64 * 100.0 / first.ended.max(1) as f64,
            first.steps,
            first.simulated.as_secs_f64(),
        );
        let median = |(least, median, most): (f64, f64, f64)| {
            format!("{median:.0} requests/s (median of {}; {least:.0} to {most:.0})", results.len())
        };
        println!("  by the core's time {}, by the clock {}", median(by_core), median(by_clock));
        missed += u32::from(size.least.is_some_and(|least| by_core.1 < least));
    }
    println!("sim: checkers off, one core, preset {preset}, bars missed {missed}");
    Ok(())
}

impl Size {
    fn kinds<'a>(&self, costs: &'a CostFile) -> Vec<&'a ModelKind> {
        let small = costs.models.iter().filter(|kind| kind.bytes.0 < 300_000_000);
        small.cycle().take(self.models as usize).collect()
    }

    /// Requests per second that keep each device computing for as much of the time as is wanted.
    fn rate(&self, costs: &CostFile) -> f64 {
        let times = self.kinds(costs).into_iter().map(|kind| kind.runs[0].1);
        let mean_ms = times.sum::<f64>() / f64::from(self.models);
        self.load * f64::from(self.devices) * 1e3 / mean_ms
    }
}

fn simulate(costs: &CostFile, size: &Size, requests: u64, preset: Preset) -> Result<Round> {
    let kinds = size.kinds(costs);
    let total: u64 = kinds.iter().map(|kind| kind.bytes.0).sum();
    let budget = Bytes((total as f64 * size.fits / f64::from(size.devices)) as u64);
    let mut config = Config::new(preset, Time::from_millis(100));
    config.queue_max = 1_000_000;
    let mut world = World::new(config, Machine::new(1), Count::default());
    for at in 0..size.devices {
        let (spec, cost) = costs.device(at, size.devices, budget, costs.device.lanes);
        world.add_device(spec, cost)?;
    }
    for kind in kinds {
        let (spec, cost) = costs.model(kind, None);
        world.add_model(spec, cost)?;
    }
    let mut spec = WorkloadSpec::new(Process::Poisson { rate: size.rate(costs) });
    spec.split = (size.split)();
    let workload = Workload::new(&spec, size.models, 1, &mut |_| Err(String::new()))
        .map_err(|why| anyhow!("{why}"))?;

    let (began, core_began) = (Instant::now(), core_time()?);
    for (id, arrival) in workload.arrivals().take(requests as usize).enumerate() {
        world.advance(arrival.at)?;
        world.step(Event::Arrived(Request {
            id: RequestId(id as u64),
            model: ModelId(arrival.model),
            key: BatchKey(0),
            rows: 1,
            deadline: Some(arrival.at + Time::from_millis(100)),
            expires: None,
            priority: 0,
        }))?;
    }
    world.drain()?;
    Ok(Round {
        by_core: requests as f64 / (core_time()? - core_began),
        by_clock: requests as f64 / began.elapsed().as_secs_f64(),
        ended: world.observer.ended,
        cold: world.observer.cold,
        steps: world.steps(),
        simulated: world.now(),
    })
}

/// Seconds that this thread has had of a core, as Linux counts them: waiting while others have it does not count.
fn core_time() -> Result<f64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).context(path)?;
    let nanos = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    Ok(nanos.with_context(|| format!("{path} does not begin with a number"))? as f64 / 1e9)
}

/// The least, the middle and the most of some figures.
fn spread(figures: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
}
