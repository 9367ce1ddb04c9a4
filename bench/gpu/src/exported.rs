//! What the Python side left in the work folder: models, tensors, PyTorch's figures, the machine.

use crate::Common;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use sublet_graph::Literal;

/// One model in one type.
pub struct Exported {
    pub folder: PathBuf,
    pub case: Case,
    /// Absent where PyTorch was not timed.
    pub torch: Option<Torch>,
}

#[derive(Deserialize)]
pub struct Case {
    pub model: String,
    pub dtype: String,
    pub batches: Vec<usize>,
    /// One file per batch size, instead of one for all.
    #[serde(rename = "static")]
    pub fixed: bool,
    pub exporter: String,
    pub torch_bytes: u64,
}

/// PyTorch's figures, in milliseconds.
#[derive(Deserialize)]
pub struct Torch {
    pub load_ms: f64,
    pub batches: BTreeMap<usize, TorchBatch>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
pub struct TorchBatch {
    pub eager_ms: f64,
    pub graph_ms: f64,
    pub cold_ms: f64,
    #[serde(default)]
    pub best_ms: Option<f64>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
pub struct Machine {
    pub gpu: String,
    pub torch: String,
    pub cuda: String,
    pub cudnn: u64,
    pub host: String,
    /// Gigabytes per second from pinned memory.
    pub link_gbps: f64,
    pub tf32: String,
}

/// Inputs of one batch size and PyTorch's outputs for them.
pub struct Tensors {
    pub inputs: BTreeMap<String, Literal>,
    pub outputs: BTreeMap<String, Literal>,
    /// The same in f32 arithmetic from the same weights; empty for an f32 model.
    pub exact: BTreeMap<String, Literal>,
}

impl Exported {
    /// The models of the work folder that were asked for, smallest first.
    pub fn all(common: &Common) -> Result<Vec<Exported>> {
        let models: Vec<&str> = common.models.split(',').collect();
        let dtypes: Vec<&str> = common.dtypes.split(',').collect();
        let entries =
            fs::read_dir(&common.work).with_context(|| common.work.display().to_string())?;
        let mut all = Vec::new();
        for entry in entries {
            let folder = entry?.path();
            let Ok(case) = fs::read_to_string(folder.join("case.json")) else { continue };
            let case: Case = serde_json::from_str(&case)
                .with_context(|| folder.join("case.json").display().to_string())?;
            let named = models == ["all"] || models.contains(&case.model.as_str());
            if !named || !dtypes.contains(&case.dtype.as_str()) {
                continue;
            }
            let torch = match fs::read_to_string(folder.join("torch.json")) {
                Ok(text) => Some(serde_json::from_str(&text)?),
                Err(_) => None,
            };
            all.push(Exported { folder, case, torch });
        }
        if all.is_empty() {
            bail!("no exported model in {} is among those asked for", common.work.display());
        }
        all.sort_by(|a, b| {
            (a.case.torch_bytes, &a.case.model).cmp(&(b.case.torch_bytes, &b.case.model))
        });
        Ok(all)
    }

    /// `resnet50 f16`.
    pub fn name(&self) -> String {
        format!("{} {}", self.case.model, self.case.dtype)
    }

    pub fn file(&self, batch: usize) -> PathBuf {
        match self.case.fixed {
            true => self.folder.join(format!("model-b{batch}.onnx")),
            false => self.folder.join("model.onnx"),
        }
    }

    pub fn tensors(&self, batch: usize) -> Result<Tensors> {
        let all =
            sublet_conformance::read_tensors(&self.folder.join(format!("b{batch}.safetensors")))?;
        let part = |prefix: &str| -> BTreeMap<String, Literal> {
            let named = all.iter().filter_map(|(name, literal)| {
                Some((name.strip_prefix(prefix)?.to_owned(), literal.clone()))
            });
            named.collect()
        };
        Ok(Tensors { inputs: part("in/"), outputs: part("out/"), exact: part("exact/") })
    }
}

/// Largest relative difference from PyTorch's outputs that counts as the same answer.
pub fn difference_max(dtype: &str) -> f64 {
    if dtype == "f32" { 1e-4 } else { 1e-2 }
}

impl Machine {
    pub fn read(work: &Path) -> Result<Machine> {
        let path = work.join("machine.json");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: measure PyTorch first", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Milliseconds that so many bytes need on the link.
    pub fn transfer_ms(&self, bytes: u64) -> f64 {
        bytes as f64 / (self.link_gbps * 1e6)
    }
}
