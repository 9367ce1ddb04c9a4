//! A repository, a store and an engine over them, for one test.

use crate::device::GatedDevice;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use sublet_device::Device;
use sublet_device_cpu::{CpuOptions, Evaluator};
use sublet_engine::{
    Engine, EngineConfig, EngineError, EngineEvent, InferRequest, InferResponse, NamedTensor,
    Pending, Policy, RepositoryMode,
};
use sublet_graph::{Evaluate, Literal};
use sublet_units::Bytes;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Scene {
    pub folder: tempfile::TempDir,
    pub mode: RepositoryMode,
    pub policy: Policy,
    pub queue_max: usize,
    pub load_at_start: Vec<String>,
    /// Of each device.
    pub memory: Bytes,
    pub devices: u32,
}

/// A running engine with all that happened.
pub struct Running {
    pub engine: Engine,
    pub devices: Vec<Arc<GatedDevice>>,
    events: Arc<Events>,
}

#[derive(Default)]
struct Events {
    seen: Mutex<Vec<EngineEvent>>,
    more: Condvar,
}

impl Scene {
    pub fn new(mode: RepositoryMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        Scene {
            folder,
            mode,
            policy: Policy::Sublet,
            queue_max: 1000,
            load_at_start: Vec::new(),
            memory: Bytes::from_mib(64),
            devices: 1,
        }
    }

    pub fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        write(&self.models().join(path), contents.as_ref());
    }

    pub fn config(&self) -> EngineConfig {
        EngineConfig {
            repositories: vec![self.models()],
            store: self.folder.path().join("store"),
            mode: self.mode,
            load_at_start: self.load_at_start.clone(),
            policy: self.policy,
            queue_max: self.queue_max,
            plans_max: 16,
            precision: None,
            model_bytes_max: Bytes::from_mib(256),
            slo: None,
        }
    }

    /// Starts the engine and waits until it is ready.
    pub fn start(&self) -> Running {
        self.start_with(Arc::new(Evaluator))
    }

    /// The same, with constants computed by `evaluator`.
    pub fn start_with(&self, evaluator: Arc<dyn Evaluate>) -> Running {
        let running = self.begin_with(evaluator);
        running.wait_until("the engine is ready", || running.engine.is_ready());
        running
    }

    /// Starts the engine and leaves it to load its models.
    pub fn begin_with(&self, evaluator: Arc<dyn Evaluate>) -> Running {
        let options = CpuOptions { memory: self.memory, ..CpuOptions::default() };
        let devices: Vec<_> =
            (0..self.devices).map(|index| GatedDevice::new(index, options.clone())).collect();
        let as_devices = devices.iter().map(|device| device.clone() as Arc<dyn Device>).collect();
        let engine = Engine::start(self.config(), as_devices, evaluator).unwrap();
        let events = Arc::new(Events::default());
        let listener = events.clone();
        engine.subscribe(Box::new(move |event| {
            listener.seen.lock().unwrap().push(event.clone());
            listener.more.notify_all();
        }));
        Running { engine, devices, events }
    }
}

/// Replaces a file as tools do: beside it, then renamed.
pub fn write(path: &Path, contents: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let beside = path.with_extension("part");
    fs::write(&beside, contents).unwrap();
    fs::rename(beside, path).unwrap();
}

impl Running {
    /// Waits for a condition that becomes true while the engine works.
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let until = std::time::Instant::now() + PATIENCE;
        while !condition() {
            assert!(std::time::Instant::now() < until, "{what}: not in {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    /// Waits until an event of this kind was seen.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&EngineEvent) -> bool) {
        let seen = self.events.seen.lock().unwrap();
        let missing = |seen: &mut Vec<EngineEvent>| !seen.iter().any(&wanted);
        let (_seen, timeout) =
            self.events.more.wait_timeout_while(seen, PATIENCE, missing).unwrap();
        assert!(!timeout.timed_out(), "{what}: not in {PATIENCE:?}");
    }

    pub fn count(&self, wanted: impl Fn(&EngineEvent) -> bool) -> usize {
        self.events.seen.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }

    pub fn queue(&self, request: InferRequest) -> Result<Pending, EngineError> {
        self.engine.infer(request)
    }

    pub fn infer(&self, request: InferRequest) -> Result<InferResponse, EngineError> {
        self.engine.infer(request)?.wait()
    }

    /// The first output of a model for one input of f32.
    pub fn run(&self, model: &str, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let response = self.infer(request(model, Literal::f32(shape, values))).unwrap();
        response.outputs[0].tensor.to_vec()
    }

    /// What an adder adds, which tells which version of it answered.
    pub fn added_by(&self, model: &str) -> f32 {
        self.run(model, &[1, 2], &[0.0, 0.0])[0]
    }
}

/// A request with the input `x`.
pub fn request(model: &str, x: Literal) -> InferRequest {
    request_with(model, vec![named("x", x)])
}

pub fn request_with(model: &str, inputs: Vec<NamedTensor>) -> InferRequest {
    InferRequest {
        model: model.into(),
        version: None,
        inputs,
        outputs: Vec::new(),
        priority: 0,
        timeout: None,
        slo: None,
    }
}

pub fn named(name: &str, tensor: Literal) -> NamedTensor {
    NamedTensor { name: name.into(), tensor }
}
