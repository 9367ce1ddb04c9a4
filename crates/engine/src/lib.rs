//! The shell around the scheduler: model repository and store, devices, the real clock.
//!
//! [`Engine`] is the whole interface for the server and the command line. It is cheap to clone and its methods may
//! be called from any thread. Those that may take long say so.

mod config;
mod error;
mod event;
mod infer;
mod model;
mod statistics;

pub use config::{EngineConfig, Policy, RepositoryMode};
pub use error::{EngineError, ErrorKind};
pub use event::{EngineEvent, SwapCause};
pub use infer::{InferRequest, InferResponse, NamedTensor, Pending, Timing};
pub use model::{
    ConfigTensor, DynamicBatching, IndexEntry, LoadOverride, ModelConfig, ModelMetadata,
    ModelState, TensorMetadata, VersionPolicy,
};
pub use statistics::{BatchStatistics, DeviceStatus, DurationStat, ModelStatistics};

use std::sync::Arc;
use sublet_device::Device;
use sublet_graph::Evaluate;

/// The running engine.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Starts the devices and the background threads, and begins loading the repository as `config.mode` says.
    /// Returns at once; [`Engine::is_ready`] tells when the models that start with the server are served.
    pub fn start(
        config: EngineConfig,
        devices: Vec<Arc<dyn Device>>,
        evaluator: Arc<dyn Evaluate>,
    ) -> Result<Engine, EngineError> {
        let _ = (config, devices, evaluator);
        todo!()
    }

    /// Checks the request, makes its plan if there is none yet, and queues it. `model_is_planned` tells whether
    /// this is quick (microseconds) or may take long (a new set of shapes: milliseconds), for async callers.
    pub fn infer(&self, request: InferRequest) -> Result<Pending, EngineError> {
        let _ = request;
        todo!()
    }

    /// Whether [`Engine::infer`] for this request needs no new plan.
    pub fn is_planned(&self, request: &InferRequest) -> bool {
        let _ = request;
        todo!()
    }

    /// `version`: `None` means the newest ready one. Fails with [`ErrorKind::NotFound`] for a model that is not in
    /// the repository and [`ErrorKind::Unavailable`] for one that is not ready.
    pub fn metadata(
        &self,
        model: &str,
        version: Option<u64>,
    ) -> Result<Arc<ModelMetadata>, EngineError> {
        let _ = (model, version);
        todo!()
    }

    pub fn config(
        &self,
        model: &str,
        version: Option<u64>,
    ) -> Result<Arc<ModelConfig>, EngineError> {
        let _ = (model, version);
        todo!()
    }

    /// Of one model (all its versions, or one), or of all models.
    pub fn statistics(
        &self,
        model: Option<&str>,
        version: Option<u64>,
    ) -> Result<Vec<ModelStatistics>, EngineError> {
        let _ = (model, version);
        todo!()
    }

    /// Whether this model can serve. False also for models that do not exist.
    pub fn is_model_ready(&self, model: &str, version: Option<u64>) -> bool {
        let _ = (model, version);
        todo!()
    }

    /// Every model of the repository, loaded or not.
    pub fn index(&self, ready_only: bool) -> Vec<IndexEntry> {
        let _ = ready_only;
        todo!()
    }

    /// Loads, or reloads, a model; blocks until it is ready or has failed. The versions served before go on
    /// serving until then, and go on if it fails.
    pub fn load(&self, model: &str, over: LoadOverride) -> Result<(), EngineError> {
        let _ = (model, over);
        todo!()
    }

    /// Stops serving a model; blocks until what is in flight has finished.
    pub fn unload(&self, model: &str) -> Result<(), EngineError> {
        let _ = model;
        todo!()
    }

    /// Every device works, the start-up loading is over, and the engine is not shutting down.
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    pub fn devices(&self) -> Vec<DeviceStatus> {
        todo!()
    }

    /// Called with every swap-in, eviction, load and unload from now on; must return quickly.
    pub fn subscribe(&self, listener: Box<dyn Fn(&EngineEvent) + Send + Sync>) {
        let _ = listener;
        todo!()
    }

    /// Rejects new requests, waits for those in flight at most `grace`, then stops every thread. Blocks.
    pub fn shutdown(&self, grace: std::time::Duration) {
        let _ = grace;
        todo!()
    }
}
