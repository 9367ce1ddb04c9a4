//! Measuring the engine: what each model's warm run takes, what the engine adds to runs, to answers and to loads.

use super::fleet::{Fleet, LINK};
use anyhow::{Context, Result, ensure};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use sublet_engine::EngineEvent;
use sublet_sim::{CostFile, LinkCosts, ModelKind, RunCosts};
use sublet_units::Bytes;

/// Warm requests per model, one at a time.
const RUNS: usize = 60;
/// Requests waiting at once, from which the time between two runs on a lane is seen.
const BACKLOG: usize = 60;

/// A profile in the simulator's format, from an engine that holds every model.
pub fn measure(fleet: &Fleet) -> Result<CostFile> {
    let memory = fleet.memory(2.0);
    let served = fleet.serve(memory)?;
    let setups = Arc::new(Mutex::new(Vec::new()));
    let seen = setups.clone();
    served.engine.subscribe(Box::new(move |event| {
        if let EngineEvent::SwappedIn { bytes, took, .. } = event {
            let setup = took.as_secs_f64() - bytes.0 as f64 / LINK as f64;
            seen.lock().expect("no panic").push(setup.max(0.0));
        }
    }));
    let mut models = Vec::new();
    let (mut launches, mut answers, mut spreads) = (Vec::new(), Vec::new(), Vec::new());
    for (index, model) in fleet.models.iter().enumerate() {
        // Brings the weights and makes the plan.
        served.engine.infer(fleet.request(index, None))?.wait()?;
        let (mut runs, mut added) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let begin = Instant::now();
            let answer = served.engine.infer(fleet.request(index, None))?.wait()?;
            let took = begin.elapsed().as_secs_f64();
            let run = answer.timing.compute.as_secs_f64();
            ensure!(!answer.timing.cold, "{} was evicted although all fits", model.name);
            runs.push(run);
            added.push(took - run);
        }
        let begin = Instant::now();
        let waiting: Vec<_> = (0..BACKLOG)
            .map(|_| served.engine.infer(fleet.request(index, None)))
            .collect::<Result<_, _>>()?;
        let mut busy = 0.0;
        for pending in waiting {
            busy += pending.wait()?.timing.compute.as_secs_f64();
        }
        let launch = ((begin.elapsed().as_secs_f64() - busy) / BACKLOG as f64).max(0.0);
        launches.push(launch);
        answers.push((quantile(&mut added, 0.5) - launch).max(0.0));
        let median = quantile(&mut runs, 0.5);
        // A uniform spread of ±j has its 10th and 90th percentile 1.6 j apart.
        spreads.push((quantile(&mut runs, 0.9) - quantile(&mut runs, 0.1)) / 1.6 / median);
        models.push(ModelKind {
            name: model.name.clone(),
            bytes: model.segments.iter().copied().sum(),
            segments: model.segments.iter().map(|bytes| bytes.0).collect(),
            load_ms: None,
            runs: vec![(1, median * 1e3)],
            shares: Vec::new(),
            slo_ms: None,
        });
    }
    let info = served.engine.devices();
    let page = info.first().context("there is a device")?.page_bytes;
    served.engine.shutdown(super::GRACE);
    let mut setups = setups.lock().expect("no panic").clone();
    ensure!(setups.len() >= fleet.models.len(), "a model came without a swap-in");
    Ok(CostFile {
        name: "cpu".to_owned(),
        source: format!("measured on a CPU device whose link was set to {}/s", Bytes(LINK)),
        device: RunCosts {
            memory,
            page,
            segment: Bytes::from_mib(8),
            lanes: 1,
            launch_us: quantile(&mut launches, 0.5) * 1e6,
            answer_us: quantile(&mut answers, 0.5) * 1e6,
            interference: 1.0,
            partition_interference: 0.0,
            jitter: quantile(&mut spreads, 0.5).min(0.5),
            overlap: true,
            partitions: false,
        },
        links: LinkCosts {
            host_rate: Bytes(LINK),
            copy_overhead_us: 0.0,
            load_setup_us: quantile(&mut setups, 0.5) * 1e6,
            switch_devices: 0,
            switch_rate: Bytes::ZERO,
            server_devices: 0,
            peer_rate: Bytes::ZERO,
        },
        models,
    })
}

/// Sorts, and takes the value that a share of all does not exceed.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(0.0)
}
