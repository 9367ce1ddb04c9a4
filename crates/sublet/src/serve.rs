//! `sublet serve`.

use crate::cli::{ControlMode, Logging, Serve};
use crate::{devices, logging};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::Duration;
use sublet_engine::{Engine, EngineConfig, RepositoryMode};
use sublet_server::{ServerConfig, ServerLimits};
use tokio::signal::unix::{SignalKind, signal};

pub fn main(options: Box<Serve>, logging: &Logging) -> Result<()> {
    let log_control = logging::init(logging, None)?;
    for repository in &options.model_repository {
        if !repository.is_dir() {
            bail!("the model repository {} is not a folder", repository.display());
        }
    }
    let mut limits = ServerLimits::default();
    if let Some(size) = options.max_request_size {
        limits.body_bytes_max = size.as_usize();
    }
    let defaults = ServerConfig::default();
    let at = |port| Some(SocketAddr::new(options.host, port));
    let server = ServerConfig {
        http: at(options.http_port),
        grpc: at(options.grpc_port),
        metrics: at(options.metrics_port),
        limits,
        network_threads: options.network_threads.unwrap_or(defaults.network_threads),
        polling: options.polling_us.map_or(defaults.polling, Duration::from_micros),
        admin_token: options.admin_token.clone(),
        system_shared_memory: options.allow_shared_memory,
        trace_folder: options.trace_folder.clone(),
        log_folder: options.log_folder.clone(),
        log_control: Some(log_control),
        ..defaults
    };
    let (engine, trace) = devices::start(&options.devices, engine_config(&options))?;
    let grace = Duration::from_secs(options.shutdown_grace);
    let runtime = tokio::runtime::Runtime::new().context("could not start the server's threads")?;
    runtime.block_on(run(engine, server, grace, &trace))
}

fn engine_config(options: &Serve) -> EngineConfig {
    let store = options.store.clone().unwrap_or_else(|| sublet_catalog::cache_dir().join("store"));
    let mode = match options.model_control_mode {
        ControlMode::None => RepositoryMode::None,
        ControlMode::Poll => {
            RepositoryMode::Poll { every: Duration::from_secs(options.repository_poll_secs) }
        }
        ControlMode::Explicit => RepositoryMode::Explicit,
    };
    EngineConfig {
        mode,
        load_at_start: options.load_model.clone(),
        queue_max: options.queue_max,
        slo: options.slo_ms.map(Duration::from_millis),
        ..devices::config(options.model_repository.clone(), store)
    }
}

/// Serves until SIGINT or SIGTERM, then finishes what is in flight.
async fn run(
    engine: Engine,
    config: ServerConfig,
    grace: Duration,
    trace: &devices::Trace<'_>,
) -> Result<()> {
    let running =
        sublet_server::serve(engine.clone(), config).await.context("could not start serving")?;
    for (what, address, path) in [
        ("http", running.http_address(), ""),
        ("grpc", running.grpc_address(), ""),
        ("metrics", running.metrics_address(), "/metrics"),
    ] {
        if let Some(address) = address {
            println!("{what} on http://{address}{path}");
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done?,
        _ = terminate.recv() => {}
    }
    tracing::info!("shutting down: requests in flight get {} s", grace.as_secs());
    running.shutdown(grace).await;
    trace.write()?;
    tokio::task::spawn_blocking(move || engine.shutdown(grace)).await?;
    Ok(())
}
