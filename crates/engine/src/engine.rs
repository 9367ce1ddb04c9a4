//! The engine as its users see it.

use crate::clock::MonotonicClock;
use crate::core::{Core, Submission, stopping};
use crate::lifecycle::{Lifecycle, Preparer, Resolved};
use crate::repository::Repository;
use crate::served::Served;
use crate::store::Store;
use crate::{
    DeviceStatus, EngineConfig, EngineError, EngineEvent, ErrorKind, IndexEntry, InferRequest,
    LoadOverride, ModelConfig, ModelMetadata, ModelStatistics, Pending, RepositoryMode,
};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use sublet_device::Device;
use sublet_graph::{Evaluate, RewriteOptions};
use sublet_plan::CompileOptions;
use sublet_sched::{Config, Scheduler};
use sublet_units::{Bytes, DeviceId, Time};

/// Threads that load models.
const LOADERS: usize = 2;

/// How long a request that states no timeout waits for a model that the server is still starting with.
const STARTING_WAIT_MAX: Duration = Duration::from_secs(60);

/// Deadline by which requests that state none are ordered, where the configuration has none either.
const SLO_DEFAULT: Time = Time::from_millis(1_000);

/// The running engine. It stops when the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    lifecycle: Arc<Lifecycle>,
    mode: RepositoryMode,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the devices and the background threads, and begins loading the repository as `config.mode` says.
    /// Returns at once; [`Engine::is_ready`] tells when the models that start with the server are served.
    ///
    /// # Errors
    /// `Invalid` for a repository or a store that cannot be opened, or without any device.
    pub fn start(
        config: EngineConfig,
        devices: Vec<Arc<dyn Device>>,
        evaluator: Arc<dyn Evaluate>,
    ) -> Result<Engine, EngineError> {
        let arenas = devices.iter().map(|device| device.info().arena_bytes_max);
        let Some(arena) = arenas.min() else {
            return Err(EngineError::new(ErrorKind::Invalid, "the engine needs a device"));
        };
        let bytes_max = config.model_bytes_max.0;
        let preparer = Preparer {
            repository: Repository::open(&config.repositories, bytes_max)?,
            store: Store::open(&config.store, config.precision)?,
            rewrites: RewriteOptions { precision: config.precision, ..RewriteOptions::default() },
            evaluator,
            compile: CompileOptions {
                arena_bytes_max: arena.as_usize(),
                ..CompileOptions::default()
            },
            plans_max: config.plans_max,
            bytes_max,
            models_made: AtomicU32::new(0),
        };
        let slo = config.slo.map(Time::from);
        let clock = Arc::new(MonotonicClock::new());
        let core = Core::start(scheduler(&config, slo), devices, clock, slo);
        let lifecycle = Arc::new(Lifecycle::new(core.clone(), preparer));
        let inner = Inner { core, lifecycle, mode: config.mode, threads: Mutex::new(Vec::new()) };
        inner.start_threads(&config);
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// Checks the request, makes its plan if there is none yet, and queues it. [`Engine::is_planned`] tells whether
    /// this is quick (microseconds) or may take long (a new set of shapes: milliseconds), for async callers.
    ///
    /// A request for a model that the server starts with and has not come to yet brings it to the front and waits for
    /// it, as long as its timeout lets it.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, `Overloaded`; `Invalid` and `Unsupported` with the model, the tensor, what is
    /// expected and what was given.
    pub fn infer(&self, request: InferRequest) -> Result<Pending, EngineError> {
        if self.inner.lifecycle.is_starting(&request.model) {
            let patience = request.timeout.unwrap_or(STARTING_WAIT_MAX);
            self.inner.lifecycle.hurry(&request.model, patience);
        }
        loop {
            let served = self.resolve(&request.model, request.version)?;
            let mut admitted = served.admit(&request)?;
            let plan = served.checked_plan(&mut admitted)?;
            match self.inner.core.submit(&served, admitted, plan, &request)? {
                Submission::Queued { answer, ticket } => {
                    let core = Arc::downgrade(&self.inner.core);
                    let cancel = move || {
                        if let Some(core) = core.upgrade() {
                            core.cancel(&ticket);
                        }
                    };
                    return Ok(Pending { answer, cancel: Some(Box::new(cancel)) });
                }
                // Switched to another version meanwhile.
                Submission::Retired => {}
            }
        }
    }

    /// Whether [`Engine::infer`] for this request needs no new plan and no waiting. True also for requests that it
    /// refuses.
    pub fn is_planned(&self, request: &InferRequest) -> bool {
        if self.inner.lifecycle.is_starting(&request.model) {
            return false;
        }
        match self.inner.core.registry.resolve(&request.model, request.version) {
            Ok(Resolved::Served(served)) => {
                served.shapes_of(&request.inputs).is_none_or(|shapes| served.is_planned(&shapes))
            }
            Ok(Resolved::Unknown) | Err(_) => true,
        }
    }

    /// `version`: `None` means the newest ready one. Fails with [`ErrorKind::NotFound`] for a model that is not in
    /// the repository and [`ErrorKind::Unavailable`] for one that is not ready.
    pub fn metadata(
        &self,
        model: &str,
        version: Option<u64>,
    ) -> Result<Arc<ModelMetadata>, EngineError> {
        let served = self.resolve(model, version)?;
        let versions = self.inner.core.registry.ready_versions(model);
        Ok(Arc::new(served.metadata(versions)))
    }

    /// As [`Engine::metadata`].
    pub fn config(
        &self,
        model: &str,
        version: Option<u64>,
    ) -> Result<Arc<ModelConfig>, EngineError> {
        Ok(self.resolve(model, version)?.config.clone())
    }

    /// Of one model (all its ready versions, or one), or of all models.
    pub fn statistics(
        &self,
        model: Option<&str>,
        version: Option<u64>,
    ) -> Result<Vec<ModelStatistics>, EngineError> {
        let core = &self.inner.core;
        let served: Vec<Arc<Served>> = match model {
            None => core.registry.all_ready(),
            Some(name) => {
                let one = self.resolve(name, version)?;
                match version {
                    Some(_) => vec![one],
                    None => core.registry.serving(name).into_values().collect(),
                }
            }
        };
        Ok(served.iter().map(|served| core.statistics(served)).collect())
    }

    /// Whether this model can serve. False also for models that do not exist.
    pub fn is_model_ready(&self, model: &str, version: Option<u64>) -> bool {
        let resolved = self.inner.core.registry.resolve(model, version);
        matches!(resolved, Ok(Resolved::Served(_))) && !self.inner.core.is_stopping()
    }

    /// Every model of the repository, loaded or not.
    pub fn index(&self, ready_only: bool) -> Vec<IndexEntry> {
        let mut entries = self.inner.lifecycle.index();
        entries.retain(|entry| !ready_only || entry.state == crate::ModelState::Ready);
        entries
    }

    /// Loads, or reloads, a model; blocks until it is ready or has failed. The versions served before go on
    /// serving until then, and go on if it fails. An unchanged model is left as it is.
    ///
    /// # Errors
    /// Why it failed, naming the node or place; `Unavailable` unless the mode is [`RepositoryMode::Explicit`].
    pub fn load(&self, model: &str, over: LoadOverride) -> Result<(), EngineError> {
        self.check_explicit()?;
        self.inner.lifecycle.load(model, over)
    }

    /// Stops serving a model; blocks until what is in flight has finished.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` unless the mode is [`RepositoryMode::Explicit`].
    pub fn unload(&self, model: &str) -> Result<(), EngineError> {
        self.check_explicit()?;
        self.inner.lifecycle.unload(model)
    }

    /// Every device works, the start-up loading is over, and the engine is not shutting down.
    pub fn is_ready(&self) -> bool {
        let core = &self.inner.core;
        self.inner.lifecycle.is_startup_over() && core.are_devices_alive() && !core.is_stopping()
    }

    pub fn devices(&self) -> Vec<DeviceStatus> {
        let core = &self.inner.core;
        let status = |(index, device): (usize, &Arc<dyn Device>)| {
            let id = DeviceId(index as u32);
            let info = device.info();
            let (alive, pages_free) = core.device_state(id);
            DeviceStatus {
                device: id,
                name: info.name.clone(),
                alive,
                memory_bytes: Bytes(info.page_bytes.0 * u64::from(info.pages)),
                page_bytes: info.page_bytes,
                pages_free,
                usage: device.usage(),
            }
        };
        core.devices.iter().enumerate().map(status).collect()
    }

    /// Called with every swap-in, eviction, load and unload from now on; must return quickly.
    pub fn subscribe(&self, listener: Box<dyn Fn(&EngineEvent) + Send + Sync>) {
        self.inner.core.subscribe(listener.into());
    }

    /// Rejects new requests, waits for those in flight at most `grace`, then stops every thread. Blocks.
    pub fn shutdown(&self, grace: Duration) {
        self.inner.shutdown(grace);
    }

    fn resolve(&self, model: &str, version: Option<u64>) -> Result<Arc<Served>, EngineError> {
        match self.inner.core.registry.resolve(model, version)? {
            Resolved::Served(served) => Ok(served),
            Resolved::Unknown => {
                self.inner.lifecycle.preparer().repository().find(model)?;
                let message = format!("model `{model}` is not loaded");
                Err(EngineError::new(ErrorKind::Unavailable, message))
            }
        }
    }

    fn check_explicit(&self) -> Result<(), EngineError> {
        if self.inner.core.is_stopping() {
            return Err(stopping());
        }
        match self.inner.mode {
            RepositoryMode::Explicit => Ok(()),
            RepositoryMode::None | RepositoryMode::Poll { .. } => Err(EngineError::new(
                ErrorKind::Unavailable,
                "models are loaded and unloaded by request only in explicit repository mode",
            )),
        }
    }
}

impl Inner {
    fn start_threads(&self, config: &EngineConfig) {
        let core = self.core.clone();
        self.spawn("clock", move || core.keep_time());
        let seen = self.lifecycle.survey();
        let names = match self.mode {
            RepositoryMode::Explicit if !config.load_at_start.iter().any(|name| name == "*") => {
                config.load_at_start.clone()
            }
            _ => seen.keys().cloned().collect(),
        };
        self.lifecycle.load_at_start(names);
        for _ in 0..LOADERS {
            let lifecycle = self.lifecycle.clone();
            self.spawn("loader", move || lifecycle.work());
        }
        if let RepositoryMode::Poll { every } = self.mode {
            let lifecycle = self.lifecycle.clone();
            self.spawn("poll", move || lifecycle.poll(every, seen));
        }
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        let thread = thread::Builder::new().name(format!("sublet-{name}")).spawn(work);
        let thread = thread.expect("the system starts a handful of threads");
        self.threads.lock().expect("unpoisoned").push(thread);
    }

    fn shutdown(&self, grace: Duration) {
        let threads = std::mem::take(&mut *self.threads.lock().expect("unpoisoned"));
        if threads.is_empty() {
            return;
        }
        tracing::info!("shutting down");
        self.lifecycle.stop();
        self.core.stop(grace);
        for thread in threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown(Duration::ZERO);
    }
}

fn scheduler(config: &EngineConfig, slo: Option<Time>) -> Scheduler {
    let defaults = Config::new(config.policy, slo.unwrap_or(SLO_DEFAULT));
    Scheduler::new(Config {
        queue_max: config.queue_max,
        model_queue_max: config.queue_max,
        ..defaults
    })
}
