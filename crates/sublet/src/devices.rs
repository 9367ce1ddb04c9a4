//! Devices and engine settings from the command line.

use crate::cli::Devices;
use anyhow::{Context, Result, anyhow};
use std::path::PathBuf;
use std::sync::Arc;
use sublet_device::Device;
use sublet_device_cpu::{CpuDevice, CpuDeviceSpec, Evaluator};
use sublet_engine::{Engine, EngineConfig, Policy, RepositoryMode};
use sublet_units::Bytes;

/// The devices that these specifications name, in order.
fn devices(specs: &[String]) -> Result<Vec<Arc<dyn Device>>> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut devices: Vec<Arc<dyn Device>> = Vec::new();
    for spec in specs {
        let parsed: CpuDeviceSpec = spec
            .parse()
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("--device {spec}"))?;
        for _ in 0..parsed.count {
            let device = CpuDevice::new(devices.len() as u32, parsed.options_on(cores));
            devices.push(Arc::new(device.with_context(|| format!("--device {spec}"))?));
        }
    }
    Ok(devices)
}

/// Starts an engine on the devices asked for.
pub fn start(options: &Devices, config: EngineConfig) -> Result<Engine> {
    let config = EngineConfig { policy: options.policy, ..config };
    Ok(Engine::start(config, devices(&options.devices)?, Arc::new(Evaluator))?)
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
        model_bytes_max: Bytes::from_gib(64),
        slo: None,
    }
}
