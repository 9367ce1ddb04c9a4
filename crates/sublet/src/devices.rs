//! Devices and engine settings from the command line.

use crate::cli::Devices;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sublet_device_cpu::Evaluator;
use sublet_devices::{OpenOptions, Tracer};
use sublet_engine::{Engine, EngineConfig, Policy, RepositoryMode};
use sublet_units::Bytes;

/// Writes the devices' trace when asked to.
pub struct Trace<'a> {
    path: Option<&'a Path>,
    tracer: Tracer,
}

impl Trace<'_> {
    /// Writes it, if one was asked for. Before the engine is shut down.
    pub fn write(&self) -> Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        self.tracer.write(path).with_context(|| format!("the trace {}", path.display()))
    }
}

/// Starts an engine on the devices asked for.
pub fn start(options: &Devices, config: EngineConfig) -> Result<(Engine, Trace<'_>)> {
    let config = EngineConfig { policy: options.policy, precision: options.precision, ..config };
    // Compiled kernels lie beside the packed models.
    let cache = config.store.with_file_name("kernels");
    let open = OpenOptions { cache: Some(&cache), trace: options.trace.is_some() };
    let opened = sublet_devices::open(&options.devices, open)?;
    let trace = Trace { path: options.trace.as_deref(), tracer: opened.tracer() };
    let engine = Engine::start(config, opened.devices, Arc::new(Evaluator))?;
    for device in engine.devices() {
        tracing::info!(device = device.name, memory = %device.memory_bytes, "serving from");
    }
    Ok((engine, trace))
}

/// Settings of an engine that loads what it is asked for.
pub fn config(repositories: Vec<PathBuf>, store: PathBuf) -> EngineConfig {
    EngineConfig {
        repositories,
        store,
        mode: RepositoryMode::Explicit,
        load_at_start: Vec::new(),
        policy: Policy::Sublet,
        queue_max: 10_000,
        plans_max: 64,
        precision: None,
        model_bytes_max: Bytes::from_gib(64),
        slo: None,
    }
}
