//! The models that both worlds serve, and the engine that serves them live.

use crate::engines::{self, Served};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use sublet_device_cpu::Evaluator;
use sublet_engine::{InferRequest, InspectOptions, NamedTensor, inspect};
use sublet_graph::{DType, Literal};
use sublet_units::{Bytes, Time};

/// Bytes per second at which weights arrive.
pub const LINK: u64 = 400_000_000;

/// Layers and channels of each model.
const MODELS: [(usize, usize); 12] = [
    (4, 128),
    (6, 128),
    (8, 128),
    (10, 128),
    (4, 128),
    (6, 128),
    (8, 128),
    (10, 128),
    (5, 128),
    (7, 128),
    (9, 128),
    (6, 128),
];
/// Requests per model for a rough measure of its run time.
const RUNS: usize = 15;
/// Side of the pictures that the models take.
const SIDE: usize = 16;

/// Models in a repository, with a store that keeps them packed.
pub struct Fleet {
    scratch: tempfile::TempDir,
    pub models: Vec<FleetModel>,
}

pub struct FleetModel {
    pub name: String,
    /// Bytes of each segment as the device keeps them.
    pub segments: Vec<Bytes>,
    input: Literal,
}

impl Fleet {
    pub fn make() -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let mut models = Vec::new();
        for (index, (layers, channels)) in MODELS.into_iter().enumerate() {
            let name = format!("m{index:02}");
            let folder = scratch.path().join("repository").join(&name).join("1");
            std::fs::create_dir_all(&folder)?;
            let bytes = sublet_catalog::convolutions(index as u64, layers, channels);
            let file = folder.join("model.onnx");
            std::fs::write(&file, bytes)?;
            let options = InspectOptions {
                repositories: Vec::new(),
                version: None,
                shapes: BTreeMap::new(),
                model_bytes_max: Bytes::from_gib(1),
            };
            let found = inspect(&file.to_string_lossy(), &options, Arc::new(Evaluator))?;
            let shape = [1, channels, SIDE, SIDE];
            let elements = shape.iter().product::<usize>();
            let values = (0..elements).flat_map(|at| ((at % 17) as f32 / 17.0).to_le_bytes());
            let values: Vec<u8> = values.collect();
            let input = Literal::new(DType::F32, shape.to_vec(), values.into());
            let input = input.context("lengths agree")?;
            models.push(FleetModel { name, segments: found.layout.extents(), input });
        }
        Ok(Fleet { scratch, models })
    }

    /// An engine with one CPU device of so much memory; every model is loaded into host memory, none onto the device.
    pub fn serve(&self, memory: Bytes) -> Result<Served> {
        let device = format!("cpu,threads=1,lanes=1,memory={},link={LINK}/s", memory.0);
        let store = self.scratch.path().join("store");
        engines::serve(&self.repository(), &device, &store)
    }

    fn repository(&self) -> PathBuf {
        self.scratch.path().join("repository")
    }

    /// Device memory that holds this share of all weights.
    pub fn memory(&self, share: f64) -> Bytes {
        let all: Bytes = self.models.iter().flat_map(|model| model.segments.iter().copied()).sum();
        Bytes((all.0 as f64 * share) as u64)
    }

    /// What a warm run takes alone, over all models: roughly, to choose rates by.
    pub fn mean_run(&self) -> Result<Time> {
        let served = self.serve(self.memory(2.0))?;
        let mut sum = Duration::ZERO;
        for index in 0..self.models.len() {
            let mut times = Vec::new();
            for _ in 0..RUNS {
                let answer =
                    served.engine.infer(self.request(index, engines::SLO, None))?.wait()?;
                times.push(answer.timing.compute);
            }
            times.sort_unstable();
            sum += times[RUNS / 2];
        }
        Ok(Time::from(sum / self.models.len() as u32))
    }

    /// A request to model number `index`, refused when it cannot start within `patience`.
    pub fn request(&self, index: usize, slo: Time, patience: Option<Time>) -> InferRequest {
        let model = &self.models[index];
        InferRequest {
            model: model.name.clone(),
            version: None,
            inputs: vec![NamedTensor { name: "x".to_owned(), tensor: model.input.clone() }],
            outputs: Vec::new(),
            priority: 0,
            timeout: patience.map(Duration::from),
            slo: Some(slo.into()),
        }
    }
}
