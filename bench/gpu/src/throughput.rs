//! All-cold throughput: distinct models asked for in turn, in so little memory that each must be swapped in again.

use crate::exported::{Exported, Machine};
use crate::figures::{median, ms, summary, write};
use crate::served::{self, Policy, Served};
use crate::{Common, with_memory};
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use sublet_engine::Pending;
use sublet_graph::Literal;
use sublet_units::Bytes;

#[derive(Args)]
pub struct Options {
    /// Models; variants fill up when fewer were exported
    #[arg(long, default_value_t = 32)]
    count: usize,
    #[arg(long, default_value_t = 5)]
    cycles: usize,
    /// Cycles before, which are not measured
    #[arg(long, default_value_t = 6)]
    warm_up: usize,
    /// Requests under way at once
    #[arg(long, default_value_t = 4)]
    inflight: usize,
    /// Memory for weights; by default three times the largest model, and at most a quarter of all
    #[arg(long)]
    memory: Option<Bytes>,
    #[arg(long, value_enum, default_value_t = Policy::FifoLru)]
    policy: Policy,
}

struct Subject {
    name: String,
    inputs: BTreeMap<String, Literal>,
}

pub fn run(common: &Common, options: &Options) -> Result<()> {
    let machine = Machine::read(&common.work)?;
    let exported = Exported::all(common)?;
    let count = options.count.max(exported.len());
    let file_bytes = |index: usize| exported[index % exported.len()].case.torch_bytes;
    let total: u64 = (0..count).map(file_bytes).sum();
    let largest = (0..count).map(file_bytes).max().unwrap_or(0);
    let memory =
        options.memory.unwrap_or(Bytes((3 * largest).min(total / 4).max(largest + largest / 8)));
    let served = Served::start(common, &[with_memory(&common.device, memory)], options.policy)?;
    let mut subjects = Vec::new();
    for index in 0..count {
        let source = &exported[index % exported.len()];
        let round = (index / exported.len()) as u64;
        let name = format!("{}-{}-{round}", source.case.model, source.case.dtype);
        match served.add(&name, served::variant(&served::file(source)?, round)?) {
            Ok(()) => subjects.push(Subject { name, inputs: source.tensors(1)?.inputs }),
            Err(error) => println!("left out: {error:#}"),
        }
    }
    ensure!(subjects.len() >= 2, "no models to cycle");
    println!(
        "{} models of {} in {memory}, link {:.1} GB/s",
        subjects.len(),
        Bytes(total),
        machine.link_gbps
    );
    // The first cycles make plans and graphs, on every lane.
    for _ in 0..options.warm_up {
        cycle(&served, &subjects, options.inflight)?;
    }
    let (mut rates, mut cold, mut requests) = (Vec::new(), 0, 0);
    let began = Instant::now();
    let bytes_before = served.swaps.bytes();
    for _ in 0..options.cycles {
        let (start, bytes) = (Instant::now(), served.swaps.bytes());
        cold += cycle(&served, &subjects, options.inflight)?;
        requests += subjects.len();
        rates.push((served.swaps.bytes() - bytes) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    let seconds = began.elapsed().as_secs_f64();
    let bytes = served.swaps.bytes() - bytes_before;
    let rate = bytes as f64 / seconds / 1e9;
    write(
        &common.out,
        "throughput.json",
        &json!({
            "machine": machine, "models": subjects.len(), "model_bytes": total, "memory": memory.0,
            "policy": format!("{:?}", options.policy), "inflight": options.inflight,
            "requests": requests, "cold": cold, "swapped_bytes": bytes, "seconds": seconds,
            "gbps": rate, "gbps_by_cycle": rates, "milliseconds_per_cycle": seconds * 1e3 / options.cycles as f64,
        }),
    )?;
    let line = format!(
        "throughput: {} models, {cold} of {requests} requests cold, {rate:.1} GB/s (median cycle {:.1}), {:.3} of the link's {:.1} GB/s",
        subjects.len(),
        median(&rates),
        rate / machine.link_gbps,
        machine.link_gbps
    );
    served.engine.shutdown(std::time::Duration::from_secs(5));
    summary(&common.out, "throughput", &line)
}

/// Asks each model once, in order; returns how many were cold.
fn cycle(served: &Served, subjects: &[Subject], inflight: usize) -> Result<usize> {
    let mut pending: VecDeque<(&str, Instant, Pending)> = VecDeque::new();
    let mut cold = 0;
    let mut settle = |(name, sent, pending): (&str, Instant, Pending)| -> Result<()> {
        let response = pending.wait()?;
        cold += usize::from(response.timing.cold);
        ensure!(ms(sent.elapsed()) < 60_000.0, "{name}: a request took more than a minute");
        Ok(())
    };
    for subject in subjects {
        if pending.len() >= inflight.max(1)
            && let Some(oldest) = pending.pop_front()
        {
            settle(oldest)?;
        }
        let request = served::request(&subject.name, &subject.inputs);
        pending.push_back((&subject.name, Instant::now(), served.engine.infer(request)?));
    }
    pending.into_iter().try_for_each(&mut settle)?;
    Ok(cold)
}
