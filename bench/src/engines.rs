//! Engines on CPU devices, as benchmarks and the soak need them.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use sublet_device::Device;
use sublet_device_cpu::{CpuDevice, CpuDeviceSpec, Evaluator};
use sublet_engine::{Engine, EngineConfig, EngineEvent, Policy, RepositoryMode};
use sublet_units::{Bytes, Time};

/// Deadline of requests that state none, which is the engine's own default.
pub const SLO: Time = Time::from_secs(1);

/// A running engine with its repository.
pub struct Served {
    pub engine: Engine,
    pub repository: PathBuf,
    swap_ins: Arc<AtomicU64>,
}

impl Served {
    pub fn swap_ins(&self) -> u64 {
        self.swap_ins.load(Ordering::Relaxed)
    }
}

/// Serves every model of a repository from devices given as on the command line; returns once all are ready.
pub fn serve(repository: &Path, device: &str, store: &Path) -> Result<Served> {
    let config = EngineConfig {
        repositories: vec![repository.to_owned()],
        store: store.to_owned(),
        mode: RepositoryMode::Explicit,
        load_at_start: vec!["*".to_owned()],
        policy: Policy::Sublet,
        queue_max: 100_000,
        plans_max: 64,
        precision: None,
        model_bytes_max: Bytes::from_gib(8),
        slo: Some(SLO.into()),
    };
    let spec: CpuDeviceSpec = device.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut devices: Vec<Arc<dyn Device>> = Vec::new();
    for index in 0..spec.count {
        devices.push(Arc::new(CpuDevice::new(index, spec.options_on(cores))?));
    }
    let engine = Engine::start(config, devices, Arc::new(Evaluator))?;
    let swap_ins = Arc::new(AtomicU64::new(0));
    let count = swap_ins.clone();
    engine.subscribe(Box::new(move |event| {
        if matches!(event, EngineEvent::SwappedIn { .. }) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }));
    while !engine.is_ready() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Served { engine, repository: repository.to_owned(), swap_ins })
}

/// The resident set of this process.
pub fn resident_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
    Ok(kib * 1024)
}
