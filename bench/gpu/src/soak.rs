//! The soak: copies of models with weights of their own, a quarter of their memory, concurrent requests. Every output
//! is compared, bit for bit, with the same request run warm and alone; memory must not grow.

use crate::exported::Exported;
use crate::figures::{summary, write};
use crate::served::{self, Policy, Served};
use crate::{Common, with_memory};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sublet_engine::InferResponse;
use sublet_graph::{DType, Literal};
use sublet_units::Bytes;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 100)]
    copies: usize,
    /// Ends after so many swaps …
    #[arg(long, default_value_t = 10_000)]
    swaps: u64,
    /// … or so many requests
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    #[arg(long, default_value_t = 16)]
    clients: u64,
    /// Larger models are left out
    #[arg(long, default_value = "150MB")]
    model_bytes_max: Bytes,
    /// Memory for weights, over all devices; a quarter of all by default
    #[arg(long)]
    memory: Option<Bytes>,
    /// Further devices that share the work: `cuda:1`
    #[arg(long)]
    beside: Vec<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Growth of the GPU's memory that counts as none.
const GPU_GROWTH_MAX: u64 = 64 << 20;
/// Of the host's, relative to what was resident after a quarter.
const HOST_GROWTH_MAX: f64 = 0.05;
/// Growth is judged in runs of so many requests: shorter ones, as for compute-sanitizer, are still filling their caches.
const GROWTH_REQUESTS_MIN: u64 = 1_000;

struct Subject {
    name: String,
    bytes: u64,
    /// With the outputs that each must have.
    asks: Vec<(BTreeMap<String, Literal>, Vec<Literal>)>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    answered: AtomicU64,
    cold: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
}

#[derive(Clone, Copy)]
struct Memory {
    host: u64,
    gpu: Option<u64>,
}

impl Memory {
    fn now() -> Result<Memory> {
        Ok(Memory { host: served::host_bytes()?, gpu: served::gpu_bytes() })
    }
}

pub fn run(common: &Common, options: &Options) -> Result<()> {
    let mut exported = Exported::all(common)?;
    exported.retain(|exported| exported.case.torch_bytes <= options.model_bytes_max.0);
    ensure!(!exported.is_empty(), "no model of at most {}", options.model_bytes_max);
    let total: u64 =
        (0..options.copies).map(|index| exported[index % exported.len()].case.torch_bytes).sum();
    let memory = options.memory.unwrap_or(Bytes(total / 4));
    let devices = || [&common.device].into_iter().chain(&options.beside);
    let each = Bytes(memory.0 / devices().count() as u64);
    let devices: Vec<String> = devices().map(|device| with_memory(device, each)).collect();
    if devices.len() > 1 {
        choose_algorithms(common, &exported)?;
    }
    let served = Served::start(common, &devices, Policy::Sublet)?;
    let began = Instant::now();
    let mut subjects = Vec::new();
    for index in 0..options.copies {
        let source = &exported[index % exported.len()];
        let seed = (index / exported.len()) as u64;
        let name = format!("{}-{}-{seed}", source.case.model, source.case.dtype);
        served.add(&name, served::variant(&served::file(source)?, seed)?)?;
        let inputs = source.tensors(1)?.inputs;
        let asks = vec![(inputs.clone(), Vec::new()), (other_inputs(&inputs), Vec::new())];
        subjects.push(Subject { name, bytes: source.case.torch_bytes, asks });
    }
    println!(
        "loaded {} copies of {} in {:.1} s",
        subjects.len(),
        Bytes(total),
        began.elapsed().as_secs_f64()
    );
    for subject in &mut subjects {
        expect(&served, subject).with_context(|| subject.name.clone())?;
    }
    println!(
        "noted what each answers, warm and alone, after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let counts = Counts::default();
    let began = Instant::now();
    let (quarter, end) = under_load(&served, &subjects, &counts, options)?;
    report(common, &served, &subjects, &counts, memory, quarter, end, began.elapsed())
}

/// Runs each model once on the first device alone, so that all devices then find its choices of algorithms on disk: devices
/// that choose for themselves agree only within rounding.
fn choose_algorithms(common: &Common, exported: &[Exported]) -> Result<()> {
    let served = Served::start(common, std::slice::from_ref(&common.device), Policy::Sublet)?;
    for source in exported {
        let name = format!("{}-{}", source.case.model, source.case.dtype);
        served.add(&name, served::file(source)?)?;
        served.engine.infer(served::request(&name, &source.tensors(1)?.inputs))?.wait()?;
    }
    served.engine.shutdown(Duration::from_secs(10));
    Ok(())
}

/// The same sizes with other values: floats halved, tokens in reverse.
fn other_inputs(inputs: &BTreeMap<String, Literal>) -> BTreeMap<String, Literal> {
    let other = |literal: &Literal| match literal.dtype() {
        DType::I64 => {
            let mut values = literal.to_vec::<i64>();
            values.reverse();
            Literal::i64(literal.shape(), &values)
        }
        DType::F32 => {
            let values: Vec<f32> =
                literal.to_vec::<f32>().iter().map(|value| value * 0.5).collect();
            Literal::f32(literal.shape(), &values)
        }
        _ => {
            // Two elements of two bytes change places, which suits every other type.
            let mut bytes = literal.bytes().to_vec();
            bytes.rotate_left(2);
            Literal::new(literal.dtype(), literal.shape().to_vec(), bytes.into())
                .expect("as long as before")
        }
    };
    inputs.iter().map(|(name, literal)| (name.clone(), other(literal))).collect()
}

fn outputs(response: InferResponse) -> Vec<Literal> {
    response.outputs.into_iter().map(|output| output.tensor).collect()
}

/// Notes what a model answers while nothing else runs. The last of three runs is certainly warm, and all must agree.
fn expect(served: &Served, subject: &mut Subject) -> Result<()> {
    for (inputs, expected) in &mut subject.asks {
        let ask = || -> Result<InferResponse> {
            Ok(served.engine.infer(served::request(&subject.name, inputs))?.wait()?)
        };
        let first = outputs(ask()?);
        ask()?;
        let last = ask()?;
        ensure!(!last.timing.cold, "the third request in a row was cold");
        *expected = outputs(last);
        ensure!(first == *expected, "cold and warm differ when alone");
    }
    let [(_, one), (_, two)] = &subject.asks[..] else { unreachable!("two asks were made") };
    ensure!(one != two, "two inputs have the same answer, so that this model shows nothing");
    Ok(())
}

fn under_load(
    served: &Served,
    subjects: &[Subject],
    counts: &Counts,
    options: &Options,
) -> Result<(Memory, Memory)> {
    let swaps_before = served.swaps.count();
    let over = || {
        served.swaps.count() - swaps_before >= options.swaps
            || counts.requests.load(Ordering::Relaxed) >= options.requests
    };
    std::thread::scope(|scope| {
        for client in 0..options.clients {
            let over = &over;
            scope.spawn(move || {
                let mut draw = fastrand::Rng::with_seed(options.seed ^ ((client + 1) << 32));
                while !over() && counts.failed.load(Ordering::Relaxed) < 100 {
                    counts.requests.fetch_add(1, Ordering::Relaxed);
                    one_request(served, subjects, counts, &mut draw);
                }
            });
        }
        let mut quarter = None;
        while !over() && counts.failed.load(Ordering::Relaxed) < 100 {
            std::thread::sleep(Duration::from_millis(50));
            let done = (served.swaps.count() - swaps_before) * 4 >= options.swaps
                || counts.requests.load(Ordering::Relaxed) * 4 >= options.requests;
            if quarter.is_none() && done {
                quarter = Some(Memory::now()?);
            }
        }
        let end = Memory::now()?;
        Ok((quarter.unwrap_or(end), end))
    })
}

fn one_request(served: &Served, subjects: &[Subject], counts: &Counts, draw: &mut fastrand::Rng) {
    let subject = &subjects[draw.usize(..subjects.len())];
    let (inputs, expected) = &subject.asks[draw.usize(..subject.asks.len())];
    let pending = match served.engine.infer(served::request(&subject.name, inputs)) {
        Ok(pending) => pending,
        Err(error) => return failed(counts, &subject.name, &error),
    };
    if draw.u32(..50) == 0 {
        // Dropping it cancels the request.
        counts.cancelled.fetch_add(1, Ordering::Relaxed);
        return;
    }
    match pending.wait() {
        Ok(response) => {
            counts.cold.fetch_add(u64::from(response.timing.cold), Ordering::Relaxed);
            if outputs(response) == *expected {
                counts.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                counts.wrong.fetch_add(1, Ordering::Relaxed);
                eprintln!("{}: another output than warm and alone", subject.name);
            }
        }
        Err(error) => failed(counts, &subject.name, &error),
    }
}

fn failed(counts: &Counts, model: &str, error: &sublet_engine::EngineError) {
    counts.failed.fetch_add(1, Ordering::Relaxed);
    eprintln!("{model}: {error}");
}

fn report(
    common: &Common,
    served: &Served,
    subjects: &[Subject],
    counts: &Counts,
    memory: Bytes,
    quarter: Memory,
    end: Memory,
    took: Duration,
) -> Result<()> {
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (answered, wrong, failed) =
        (get(&counts.answered), get(&counts.wrong), get(&counts.failed));
    let host_growth = end.host as f64 / quarter.host as f64 - 1.0;
    let gpu_growth = end.gpu.zip(quarter.gpu).map(|(end, quarter)| end as i64 - quarter as i64);
    let total: u64 = subjects.iter().map(|subject| subject.bytes).sum();
    let (swaps, bytes) = (served.swaps.count(), served.swaps.bytes());
    let by_device = served.swaps.counts();
    served.engine.shutdown(Duration::from_secs(10));
    write(
        &common.out,
        "soak.json",
        &json!({
            "copies": subjects.len(), "model_bytes": total, "memory": memory.0, "swaps": swaps,
            "swaps_by_device": by_device,
            "swapped_bytes": bytes, "requests": get(&counts.requests), "answered": answered,
            "cold": get(&counts.cold), "cancelled": get(&counts.cancelled), "wrong": wrong,
            "failed": failed, "seconds": took.as_secs_f64(), "host_bytes_quarter": quarter.host,
            "host_bytes_end": end.host, "gpu_bytes_quarter": quarter.gpu, "gpu_bytes_end": end.gpu,
        }),
    )?;
    let gpu = gpu_growth
        .map_or("unknown".to_owned(), |growth| format!("{:+.1} MiB", growth as f64 / 1048576.0));
    let devices = match by_device.len() {
        1 => String::new(),
        several => format!(" of {several} devices"),
    };
    let line = format!(
        "soak: {} copies of {} in {memory}{devices}: swaps {swaps} answered {answered} wrong {wrong} failed {failed} \
         cancelled {} in {:.1} s; host memory {:+.1} % GPU memory {gpu}",
        subjects.len(),
        Bytes(total),
        get(&counts.cancelled),
        took.as_secs_f64(),
        host_growth * 100.0
    );
    summary(&common.out, "soak", &line)?;
    if wrong + failed > 0 || answered == 0 {
        bail!("{wrong} wrong, {failed} failed");
    }
    ensure!(!by_device.contains(&0), "a device was not used: swaps by device {by_device:?}");
    if get(&counts.requests) < GROWTH_REQUESTS_MIN {
        println!("too few requests to judge the growth of memory");
        return Ok(());
    }
    ensure!(
        host_growth <= HOST_GROWTH_MAX,
        "the host's memory grew by {:.1} %",
        host_growth * 100.0
    );
    ensure!(
        gpu_growth.is_none_or(|growth| growth <= GPU_GROWTH_MAX as i64),
        "the GPU's memory grew by {gpu}"
    );
    Ok(())
}
