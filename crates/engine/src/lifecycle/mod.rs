//! The life of models: prepared in the background, switched to in one step, drained and forgotten.
//!
//! `registry` knows which versions are served now, `import` and `prepare` make a version from its files, `jobs` is the
//! queue of the loader's threads, `poll` follows changes on disk.

mod external;
mod import;
mod jobs;
mod poll;
mod prepare;
mod registry;

pub(crate) use import::import;
pub(crate) use prepare::{Preparer, read_config};
pub(crate) use registry::{Registry, Resolved};

use crate::core::{Core, stopping};
use crate::repository::check_name;
use crate::served::Served;
use crate::{EngineError, EngineEvent, ErrorKind, IndexEntry, LoadOverride, ModelState};
use jobs::{Job, Jobs};
use prepare::LoadFailure;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) struct Lifecycle {
    core: Arc<Core>,
    preparer: Preparer,
    jobs: Jobs,
}

impl Lifecycle {
    pub fn new(core: Arc<Core>, preparer: Preparer) -> Self {
        Lifecycle { core, preparer, jobs: Jobs::default() }
    }

    /// Loads what the server starts with.
    pub fn load_at_start(&self, mut names: Vec<String>) {
        names.sort();
        names.dedup();
        let job = |name| Job { name, over: LoadOverride::default(), done: None, startup: true };
        self.jobs.add(names.into_iter().map(job).collect());
    }

    pub fn is_startup_over(&self) -> bool {
        self.jobs.is_startup_over()
    }

    /// Whether a model that the server starts with is not loaded yet.
    pub fn is_starting(&self, name: &str) -> bool {
        self.jobs.is_starting(name)
    }

    /// As [`Jobs::hurry`].
    pub fn hurry(&self, name: &str, patience: Duration) {
        self.jobs.hurry(name, patience);
    }

    /// Loads or reloads a model; blocks until that is over.
    pub fn load(&self, name: &str, over: LoadOverride) -> Result<(), EngineError> {
        let (done, result) = mpsc::channel();
        let name = name.to_owned();
        self.jobs.add(vec![Job { name, over, done: Some(done), startup: false }]);
        result.recv().unwrap_or_else(|_| Err(stopping()))
    }

    /// Carries out loads until the engine stops. For the loader's threads.
    pub fn work(&self) {
        while let Some(job) = self.jobs.next() {
            let work = || self.load_now(&job.name, &job.over);
            // A bug that a model file brings to light must not end the loading of all others.
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                let message = format!("model `{}`: loading it failed inside the server", job.name);
                let error = EngineError::new(ErrorKind::Internal, message);
                self.core.registry.failed(&job.name, None, &error.to_string());
                Err(error)
            });
            self.jobs.finished(job, result);
        }
    }

    fn load_now(&self, name: &str, over: &LoadOverride) -> Result<(), EngineError> {
        let registry = &self.core.registry;
        let started = Instant::now();
        let span = tracing::info_span!("load", model = name);
        let _entered = span.enter();
        // Names of no model leave no trace; a model that cannot be read is shown with the reason.
        check_name(name).map_err(|what| EngineError::new(ErrorKind::Invalid, what))?;
        if over.files.is_empty()
            && !registry.knows(name)
            && let Err(error) = self.preparer.repository().find(name)
            && error.kind() == ErrorKind::NotFound
        {
            return Err(error);
        }
        registry.loading(name);
        let stop = || self.core.is_stopping();
        let prepared = self.preparer.prepare(name, over, &registry.serving(name), &stop);
        let added = prepared.and_then(|versions| {
            let load_ns = started.elapsed().as_nanos() as u64;
            self.add_all(&versions, load_ns)?;
            Ok(versions)
        });
        match added {
            Ok(versions) => {
                self.switch(name, versions);
                tracing::info!(seconds = started.elapsed().as_secs_f64(), "loaded");
                Ok(())
            }
            Err(LoadFailure { version, error }) => {
                tracing::warn!(version, %error, "not loaded");
                registry.failed(name, version, &error.to_string());
                Err(error)
            }
        }
    }

    /// Gives new versions to the core: all of them, or none.
    fn add_all(&self, versions: &[Arc<Served>], load_ns: u64) -> Result<(), LoadFailure> {
        let fresh: Vec<_> = versions.iter().filter(|served| !self.core.serves(served.id)).collect();
        for (done, served) in fresh.iter().enumerate() {
            if let Err(error) = self.core.add_model(served, load_ns) {
                for earlier in &fresh[..done] {
                    self.core.retire(earlier.id);
                }
                let message =
                    format!("model `{}` version {}: {error}", served.name, served.version);
                let error = EngineError::new(error.kind(), message);
                return Err(LoadFailure { version: Some(served.version), error });
            }
        }
        Ok(())
    }

    /// New requests go to the new versions from now on; the old ones drain.
    fn switch(&self, name: &str, versions: Vec<Arc<Served>>) {
        let switched = self.core.registry.switch(name, versions);
        for served in &switched.ready {
            self.changed(served, ModelState::Ready);
        }
        for served in &switched.dropped {
            self.changed(served, ModelState::Unloading);
        }
        for served in switched.replaced.iter().chain(&switched.dropped) {
            self.core.retire(served.id);
        }
    }

    /// Stops serving a model; what is in flight goes on. Returns what drains now.
    ///
    /// # Errors
    /// `NotFound` for a model that is neither loaded nor in the repository, `Unavailable` when the engine stops.
    pub fn begin_unload(&self, name: &str) -> Result<Vec<Arc<Served>>, EngineError> {
        let _busy = self.jobs.reserve(name).ok_or_else(stopping)?;
        let draining = match self.core.registry.unload(name) {
            Some(draining) => draining,
            None => {
                self.preparer.repository().find(name)?;
                Vec::new()
            }
        };
        for served in &draining {
            tracing::info!(model = name, version = served.version, "unloading");
            self.changed(served, ModelState::Unloading);
            self.core.retire(served.id);
        }
        Ok(draining)
    }

    /// Stops serving a model; blocks until what is in flight has finished.
    ///
    /// # Errors
    /// As [`Lifecycle::begin_unload`].
    pub fn unload(&self, name: &str) -> Result<(), EngineError> {
        for served in self.begin_unload(name)? {
            self.core.wait_gone(served.id);
            self.core.model_gone(&served);
        }
        Ok(())
    }

    /// Every model of the repository, loaded or not.
    pub fn index(&self) -> Vec<IndexEntry> {
        let mut entries = self.core.registry.entries();
        let known: std::collections::HashSet<_> =
            entries.iter().map(|entry| entry.name.clone()).collect();
        let unloaded = self.preparer.repository().names().into_iter();
        entries.extend(unloaded.filter(|name| !known.contains(name)).map(|name| IndexEntry {
            name,
            version: None,
            state: ModelState::Unavailable,
            reason: "not loaded".into(),
        }));
        entries.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        entries
    }

    pub fn preparer(&self) -> &Preparer {
        &self.preparer
    }

    /// Ends the loader's threads, after what each is doing now, and answers those who wait for a load.
    pub fn stop(&self) {
        self.jobs.stop();
    }

    fn changed(&self, served: &Served, state: ModelState) {
        let (model, version) = (served.name.clone(), served.version);
        self.core.emit(&EngineEvent::Changed { model, version, state });
    }
}
