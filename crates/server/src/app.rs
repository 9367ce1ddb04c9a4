//! What every handler of both protocols shares.

use crate::auth::AdminGate;
use crate::budget::{Budget, Reservation};
use crate::logging::Logging;
use crate::metrics::Latencies;
use crate::trace::Tracer;
use crate::{Failure, ServerConfig, ServerLimits, SystemRegions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use sublet_engine::Engine;
use tokio::sync::{Semaphore, watch};

pub(crate) struct App {
    pub engine: Engine,
    pub name: String,
    pub version: String,
    pub limits: ServerLimits,
    pub regions: SystemRegions,
    pub admin: AdminGate,
    pub tracer: Tracer,
    pub logging: Logging,
    pub latencies: Latencies,
    /// Bytes of all request bodies in the house.
    pub bytes: Arc<Budget>,
    /// Inference requests in the house.
    requests: Arc<Budget>,
    /// Loads and unloads at once: each holds a thread.
    repository_slots: Semaphore,
    draining: AtomicBool,
    /// Changes whenever a model or a device does.
    changes: watch::Sender<()>,
}

/// Extensions of the protocol that the server's metadata names.
const EXTENSIONS: [&str; 10] = [
    "classification",
    "schedule_policy",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
];

const REPOSITORY_SLOTS: usize = 16;

impl App {
    pub fn new(engine: Engine, config: &ServerConfig) -> Arc<Self> {
        let (changes, _) = watch::channel(());
        let app = Arc::new(App {
            name: config.name.clone(),
            version: config.version.clone(),
            limits: config.limits.clone(),
            regions: SystemRegions::new(config.system_shared_memory),
            admin: AdminGate::new(config.admin_token.as_deref()),
            tracer: Tracer::new(config.trace_folder.clone(), config.limits.trace_models_max),
            logging: Logging::new(config),
            latencies: Latencies::default(),
            bytes: Budget::new(config.limits.body_bytes_total_max),
            requests: Budget::new(config.limits.requests_max),
            repository_slots: Semaphore::new(REPOSITORY_SLOTS),
            draining: AtomicBool::new(false),
            changes: changes.clone(),
            engine,
        });
        app.engine.subscribe(Box::new(move |_| {
            changes.send_replace(());
        }));
        app
    }

    pub fn extensions(&self) -> Vec<String> {
        let shared = self.regions.is_allowed().then_some("system_shared_memory");
        EXTENSIONS.into_iter().chain(shared).map(str::to_owned).collect()
    }

    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.engine.is_ready()
    }

    /// From now on not ready, so that no more requests are sent here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.changes.send_replace(());
    }

    pub fn watch_changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// A place for one inference.
    pub fn admit(&self) -> Result<Reservation, Failure> {
        self.requests.take(1).ok_or_else(|| {
            Failure::overloaded("too many requests are being handled; try again later")
        })
    }

    /// Runs what may block for long, such as loading a model, on a thread of its own; goes on when the caller leaves.
    pub async fn change_repository<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Engine) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _slot = self.repository_slots.acquire().await.expect("the semaphore is never closed");
        let engine = self.engine.clone();
        match tokio::task::spawn_blocking(move || change(&engine)).await {
            Ok(result) => result,
            Err(error) => Err(Failure::internal(format!("the change ended early: {error}"))),
        }
    }
}
