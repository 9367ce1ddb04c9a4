//! How fast the simulator is: simulated requests per second of one core, checkers off.

use crate::library::Library;
use anyhow::{Result, anyhow};
use std::time::Instant;
use sublet_sched::{Config, Event, Preset, Request};
use sublet_sim::{Ended, Machine, Observe, World};
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

pub fn run(library: &Library, requests: u64, filter: &str, preset: Preset) -> Result<()> {
    let costs = library.costs("costs/h200.toml")?;
    let mut missed = 0;
    for size in SIZES.iter().filter(|size| size.name.contains(filter)) {
        let kinds: Vec<_> = costs.models.iter().filter(|kind| kind.bytes.0 < 300_000_000).collect();
        let kind = |at: u32| kinds[at as usize % kinds.len()];
        let total: u64 = (0..size.models).map(|at| kind(at).bytes.0).sum();
        let budget = Bytes((total as f64 * size.fits / f64::from(size.devices)) as u64);
        let mean_ms =
            (0..size.models).map(|at| kind(at).runs[0].1).sum::<f64>() / f64::from(size.models);
        let rate = size.load * f64::from(size.devices) * 1e3 / mean_ms;

        let mut config = Config::new(preset, Time::from_millis(100));
        config.queue_max = 1_000_000;
        let mut world = World::new(config, Machine::new(1), Count::default());
        for at in 0..size.devices {
            let (spec, cost) = costs.device(at, size.devices, budget, costs.device.lanes);
            world.add_device(spec, cost)?;
        }
        for at in 0..size.models {
            let (spec, cost) = costs.model(kind(at), None);
            world.add_model(spec, cost)?;
        }
        let mut spec = WorkloadSpec::new(Process::Poisson { rate });
        spec.split = (size.split)();
        let workload = Workload::new(&spec, size.models, 1, &mut |_| Err(String::new()))
            .map_err(|why| anyhow!("{why}"))?;

        let began = Instant::now();
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
        let took = began.elapsed().as_secs_f64();
        let per_second = requests as f64 / took;
        println!(
            "{}: {requests} requests at {rate:.0} per second of simulated time, {} ended, {:.2} % cold, {} events, \
             {:.0} s simulated in {took:.2} s: {per_second:.0} requests/s",
            size.name,
            world.observer.ended,
            world.observer.cold as f64 * 100.0 / world.observer.ended.max(1) as f64,
            world.steps(),
            world.now().as_secs_f64(),
        );
        missed += u32::from(size.least.is_some_and(|least| per_second < least));
    }
    println!("sim: checkers off, one core, preset {preset}, bars missed {missed}");
    Ok(())
}
