//! The engine's profile, from runs of the engine under the load that is to be predicted: how long each model's runs take
//! and how they vary, what the engine adds to runs, answers and loads. Nothing of it says how long requests wait.

use super::fleet::{Fleet, LINK};
use super::live::{Asked, Session};
use anyhow::{Context, Result, ensure};
use sublet_sim::{CostFile, LinkCosts, ModelKind, RunCosts};
use sublet_units::{Bytes, Time};

/// What a profile needs at least of each model.
const RUNS_MIN: usize = 4;

/// A profile in the simulator's format.
///
/// # Errors
/// When the sessions are too short to tell.
pub fn of(fleet: &Fleet, sessions: &[&Session]) -> Result<CostFile> {
    let page = sessions.first().context("a profile needs a run")?.page;
    // One lane: requests end in the order in which they ran.
    let in_order: Vec<Vec<&Asked>> = sessions.iter().map(|session| in_order(session)).collect();
    let mut runs = vec![Vec::new(); fleet.models.len()];
    for asked in in_order.iter().flatten() {
        let run = asked.run().context("only answers are in order")?;
        runs[asked.model as usize].push(run.as_secs_f64());
    }
    for (model, runs) in fleet.models.iter().zip(&runs) {
        ensure!(
            runs.len() >= RUNS_MIN,
            "{} ran {} times: make the run longer",
            model.name,
            runs.len()
        );
    }
    let means: Vec<f64> = runs.iter().map(|runs| mean(runs)).collect();
    let factor = |asked: &&Asked| Some(asked.run()?.as_secs_f64() / means[asked.model as usize]);
    let spread = in_order.iter().flatten().filter_map(factor).collect();
    let mut launches: Vec<f64> = in_order.iter().flat_map(|asked| launches(asked)).collect();
    let launch = quantile(&mut launches, 0.5);
    let added = |asked: &&Asked| Some(asked.added()?.as_secs_f64());
    let mut added: Vec<f64> = in_order.iter().flatten().filter_map(added).collect();
    let mut setups: Vec<f64> = sessions.iter().flat_map(|session| setups(session)).collect();
    ensure!(!setups.is_empty(), "no model was swapped in");
    let models = fleet.models.iter().zip(&means).map(|(model, mean)| ModelKind {
        name: model.name.clone(),
        bytes: model.segments.iter().copied().sum(),
        segments: model.segments.iter().map(|bytes| bytes.0).collect(),
        load_ms: None,
        runs: vec![(1, mean * 1e3)],
        shares: Vec::new(),
        slo_ms: None,
    });
    Ok(CostFile {
        name: "cpu".to_owned(),
        source: format!("measured on a CPU device whose link was set to {}/s", Bytes(LINK)),
        device: RunCosts {
            memory: fleet.memory(1.0),
            page,
            segment: Bytes::from_mib(8),
            lanes: 1,
            launch_us: launch * 1e6,
            answer_us: (quantile(&mut added, 0.5) - launch).max(0.0) * 1e6,
            interference: 1.0,
            partition_interference: 0.0,
            jitter: 0.0,
            spread,
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
        models: models.collect(),
    })
}

fn in_order(session: &Session) -> Vec<&Asked> {
    let mut answered: Vec<&Asked> = session.asked.iter().filter(|it| it.answer.is_ok()).collect();
    answered.sort_by_key(|asked| asked.ended);
    answered
}

/// Seconds between two runs on a lane that had the next one waiting: from answer to answer, less the run.
fn launches(in_order: &[&Asked]) -> Vec<f64> {
    let gap = |pair: &[&Asked]| {
        let [before, asked] = pair else { return None };
        let timing = asked.answer.as_ref().ok()?;
        let waited = asked.sent + Time::from(timing.queue)
            > before.ended.saturating_sub(Time::from_micros(100))
            && !timing.queue.is_zero()
            && asked.sent < before.ended;
        let known = asked.run()? + Time::from(timing.stalled);
        let gap = asked.ended.saturating_sub(before.ended).as_secs_f64() - known.as_secs_f64();
        waited.then_some(gap.max(0.0))
    };
    in_order.windows(2).filter_map(gap).collect()
}

/// Seconds that swap-ins took beyond what their bytes take, of those that found the link free.
fn setups(session: &Session) -> Vec<f64> {
    let mut free_at = Time::ZERO;
    let mut setups = Vec::new();
    for swap in &session.swaps {
        if swap.begun >= free_at {
            let took = (swap.ended - swap.begun).as_secs_f64();
            setups.push((took - swap.bytes.0 as f64 / LINK as f64).max(0.0));
        }
        free_at = free_at.max(swap.ended);
    }
    setups
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Sorts, and takes the value that a share of all does not exceed.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(0.0)
}
