//! Engines with many models on one device or several, and variants of a model that differ in their weights.

use crate::Common;
use crate::exported::Exported;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sublet_device_cpu::Evaluator;
use sublet_engine::{
    Engine, EngineConfig, EngineEvent, InferRequest, LoadOverride, NamedTensor, RepositoryMode,
};
use sublet_graph::{DType, Literal};
use sublet_import::{Limits, NoExternalData, import_onnx};

#[derive(Clone, Copy, ValueEnum, PartialEq, Debug)]
pub enum Policy {
    Sublet,
    FifoLru,
}

/// A running engine that is given its models one by one.
pub struct Served {
    pub engine: Engine,
    pub swaps: Arc<Swaps>,
    _scratch: tempfile::TempDir,
}

/// What was swapped in, by device.
pub struct Swaps(Vec<Swapped>);

#[derive(Default)]
struct Swapped {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Swaps {
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|swapped| swapped.count.load(Ordering::Relaxed)).collect()
    }

    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|swapped| swapped.bytes.load(Ordering::Relaxed)).sum()
    }
}

impl Served {
    pub fn start(common: &Common, devices: &[String], policy: Policy) -> Result<Served> {
        let scratch = tempfile::tempdir_in(&common.work)?;
        let repository = scratch.path().join("repository");
        fs::create_dir_all(&repository)?;
        let policy = match policy {
            Policy::Sublet => sublet_engine::Policy::Sublet,
            Policy::FifoLru => sublet_engine::Policy::FifoLru,
        };
        let config = EngineConfig {
            repositories: vec![repository],
            store: scratch.path().join("store"),
            mode: RepositoryMode::Explicit,
            load_at_start: Vec::new(),
            policy,
            queue_max: 100_000,
            plans_max: 64,
            precision: None,
            model_bytes_max: sublet_units::Bytes::from_gib(8),
            slo: None,
        };
        let opened = common.open_all(devices)?;
        let swaps = Arc::new(Swaps(opened.iter().map(|_| Swapped::default()).collect()));
        let engine = Engine::start(config, opened, Arc::new(Evaluator))?;
        let counted = swaps.clone();
        engine.subscribe(Box::new(move |event| {
            if let EngineEvent::SwappedIn { device, bytes, .. } = event {
                let swapped = &counted.0[device.0 as usize];
                swapped.count.fetch_add(1, Ordering::Relaxed);
                swapped.bytes.fetch_add(bytes.0, Ordering::Relaxed);
            }
        }));
        Ok(Served { engine, swaps, _scratch: scratch })
    }

    /// Loads a model from bytes in memory; it is not kept on disk.
    pub fn add(&self, name: &str, file: Bytes) -> Result<()> {
        let files = BTreeMap::from([("1/model.onnx".to_owned(), file)]);
        let over = LoadOverride { config_json: None, files };
        self.engine.load(name, over).with_context(|| name.to_owned())
    }
}

/// A request for all outputs.
pub fn request(model: &str, inputs: &BTreeMap<String, Literal>) -> InferRequest {
    let named = |(name, tensor): (&String, &Literal)| NamedTensor {
        name: name.clone(),
        tensor: tensor.clone(),
    };
    InferRequest {
        model: model.to_owned(),
        version: None,
        inputs: inputs.iter().map(named).collect(),
        outputs: Vec::new(),
        priority: 0,
        timeout: None,
        slo: None,
    }
}

/// The model file for a batch of one.
pub fn file(exported: &Exported) -> Result<Bytes> {
    let path = exported.file(1);
    Ok(fs::read(&path).with_context(|| path.display().to_string())?.into())
}

/// The same model with the signs of one in sixteen elements of its larger weights drawn anew, so that it answers
/// differently: a copy that got another one's weights shows. Seed 0 is the model itself.
pub fn variant(file: &Bytes, seed: u64) -> Result<Bytes> {
    if seed == 0 {
        return Ok(file.clone());
    }
    let model = import_onnx(file.clone(), &NoExternalData, &Limits::default())?;
    let mut changed = file.to_vec();
    let mut draw = fastrand::Rng::with_seed(seed);
    let start = file.as_ptr().addr();
    let mut flipped = 0;
    for weight in &model.weights {
        let size = match weight.value.dtype() {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
            _ => continue,
        };
        let (bytes, values) = (weight.bytes(), weight.value.len());
        // Weights that were not stored as raw bytes lie elsewhere.
        let offset = bytes.as_ptr().addr().wrapping_sub(start);
        if weight.value.shape().len() < 2 || offset.saturating_add(bytes.len()) > file.len() {
            continue;
        }
        let mut element = draw.usize(..16);
        while element < values {
            if draw.bool() {
                changed[offset + element * size + size - 1] ^= 0x80;
                flipped += 1;
            }
            element += 16;
        }
    }
    ensure!(flipped > 0, "a model without weights to vary");
    Ok(changed.into())
}

/// The resident set of this process.
pub fn host_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
    Ok(kib * 1024)
}

/// Memory in use on all GPUs, as `nvidia-smi` says; `None` where there is none.
pub fn gpu_bytes() -> Option<u64> {
    let arguments = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mib: Option<Vec<u64>> = text.lines().map(|line| line.trim().parse().ok()).collect();
    mib.filter(|mib| !mib.is_empty()).map(|mib| mib.iter().sum::<u64>() << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_another_model_of_the_same_shape() {
        let file = Bytes::from(sublet_catalog::perceptron(1, 2, 64));
        let other = variant(&file, 7).unwrap();
        assert_eq!(file.len(), other.len());
        assert_ne!(file, other);
        assert_eq!(other, variant(&file, 7).unwrap());
        let run = |file: Bytes| {
            let loaded = sublet_conformance::Loaded::from_bytes(file).unwrap();
            loaded.run(&[Literal::f32(&[1, 64], &[1.0; 64])]).unwrap()
        };
        assert_ne!(run(file), run(other));
    }
}
