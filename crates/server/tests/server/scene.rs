//! A repository of tiny models, an engine and a server over them, for one test.

use crate::device::GatedDevice;
use crate::onnx::{self, FLOAT, FLOAT16, INT64};
use crate::raw_client::{self, Answer};
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sublet_device_cpu::Evaluator;
use sublet_engine::{Engine, EngineConfig, LoadOverride, ModelStatistics, Policy, RepositoryMode};
use sublet_server::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use sublet_server::{Running, ServerConfig, serve};
use sublet_units::Bytes;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Scene {
    pub runtime: Runtime,
    pub device: Arc<GatedDevice>,
    pub engine: Engine,
    server: Option<Running>,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub metrics: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Ports of the system's choice.
pub fn config() -> ServerConfig {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    ServerConfig { http: any, grpc: any, metrics: any, ..ServerConfig::default() }
}

impl Scene {
    /// Serves `double` (x + x, f32 [N, 4]), `ints` (x + x, i64 [N, 2]), `halves` (−x, f16 [N, 2]) and `log`
    /// (ln x, f32 [N, 1]). `idle` lies in the repository but is not loaded, `broken` cannot be.
    pub fn new(config: ServerConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let models = folder.path().join("models");
        let write = |name: &str, contents: &[u8]| {
            let version = models.join(name).join("1");
            fs::create_dir_all(&version).expect("made");
            fs::write(version.join("model.onnx"), contents).expect("written");
        };
        write("double", &onnx::model("Add", 2, FLOAT, &[-1, 4]));
        write("ints", &onnx::model("Add", 2, INT64, &[-1, 2]));
        write("halves", &onnx::model("Neg", 1, FLOAT16, &[-1, 2]));
        write("log", &onnx::model("Log", 1, FLOAT, &[-1, 1]));
        write("idle", &onnx::model("Neg", 1, FLOAT, &[-1, 4]));
        write("broken", b"no model");

        let device = GatedDevice::new();
        let engine = EngineConfig {
            repositories: vec![models],
            store: folder.path().join("store"),
            mode: RepositoryMode::Explicit,
            load_at_start: Vec::new(),
            policy: Policy::Sublet,
            queue_max: 100,
            plans_max: 16,
            precision: None,
            model_bytes_max: Bytes::from_mib(16),
            slo: None,
        };
        let evaluator = Arc::new(Evaluator);
        let engine = Engine::start(engine, vec![device.clone()], evaluator).expect("started");
        for model in ["double", "ints", "halves", "log"] {
            engine.load(model, LoadOverride::default()).expect(model);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(serve(engine.clone(), config)).expect("serving");
        let scene = Scene {
            runtime,
            device,
            engine,
            http: server.http_address().expect("open"),
            grpc: server.grpc_address().expect("open"),
            metrics: server.metrics_address().expect("open"),
            server: Some(server),
            _folder: folder,
        };
        scene.wait_until("the server is ready", || scene.engine.is_ready());
        scene
    }

    pub fn get(&self, path: &str) -> Answer {
        raw_client::request(self.http, "GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(path, &[], body)
    }

    pub fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        raw_client::request(self.http, "POST", path, headers, body.as_ref())
    }

    /// An inference of JSON followed by raw tensors.
    pub fn infer_raw(&self, model: &str, json: &str, raw: &[u8]) -> Answer {
        let body = [json.as_bytes(), raw].concat();
        let length = json.len().to_string();
        let headers = [("Inference-Header-Content-Length", &*length)];
        self.post_with(&format!("/v2/models/{model}/infer"), &headers, body)
    }

    pub fn grpc_client(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::new(self.channel())
    }

    pub fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).expect("an address");
        self.runtime.block_on(endpoint.connect()).expect("connected")
    }

    pub fn statistics(&self, model: &str) -> ModelStatistics {
        self.engine.statistics(Some(model), Some(1)).expect("known").remove(0)
    }

    /// Waits for a condition that becomes true while the server works.
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < until, "{what}: not in {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    /// Begins to shut the server down; the handle ends with it.
    pub fn shutdown(&mut self) -> tokio::task::JoinHandle<()> {
        let server = self.server.take().expect("shut down once");
        self.runtime.spawn(server.shutdown(PATIENCE))
    }
}

/// `{"inputs": […]}` with one input `x` of raw bytes.
pub fn raw_input(datatype: &str, shape: &[usize], bytes: usize) -> String {
    format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "{datatype}", "shape": {shape:?},
            "parameters": {{"binary_data_size": {bytes}}}}}]}}"#
    )
}

/// `{"inputs": […]}` with one input `x` in JSON.
pub fn json_input(datatype: &str, shape: &[usize], data: &str) -> String {
    format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "{datatype}", "shape": {shape:?}, "data": {data}}}]}}"#
    )
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
