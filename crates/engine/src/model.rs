//! What the engine says about models.

use std::collections::BTreeMap;
use sublet_graph::{DType, Dim};

#[derive(Clone, Debug, PartialEq)]
pub struct ModelMetadata {
    pub name: String,
    /// All versions that are ready.
    pub versions: Vec<u64>,
    /// For example `onnx`.
    pub platform: String,
    pub inputs: Vec<TensorMetadata>,
    pub outputs: Vec<TensorMetadata>,
    /// Free-form properties of the model file.
    pub properties: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TensorMetadata {
    pub name: String,
    pub dtype: DType,
    /// Including the batch dimension.
    pub dims: Vec<Dim>,
    pub optional: bool,
}

/// A model's `config.pbtxt`, completed with what the model file says. Mirrors Triton's `ModelConfig`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModelConfig {
    pub name: String,
    pub platform: String,
    pub backend: String,
    pub max_batch_size: u32,
    /// Dimensions as `config.pbtxt` has them: without the batch dimension when `max_batch_size > 0`; −1 is dynamic.
    pub inputs: Vec<ConfigTensor>,
    pub outputs: Vec<ConfigTensor>,
    /// The file's other settings that Sublet honours.
    pub version_policy: VersionPolicy,
    pub dynamic_batching: Option<DynamicBatching>,
    pub instance_count: Option<u32>,
    pub default_model_filename: String,
    pub parameters: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConfigTensor {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<i64>,
    /// The dimensions that the model sees instead of these.
    pub reshape: Option<Vec<i64>>,
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum VersionPolicy {
    Latest { count: u32 },
    All,
    Specific(Vec<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        VersionPolicy::Latest { count: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct DynamicBatching {
    pub preferred: Vec<u32>,
    pub max_queue_delay_us: u64,
    pub default_priority: u32,
    pub priority_levels: u32,
    pub default_timeout_us: u64,
    pub max_queue_size: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IndexEntry {
    pub name: String,
    /// `None` for a model with no version loaded.
    pub version: Option<u64>,
    pub state: ModelState,
    /// Why, when it is not ready.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelState {
    Unavailable,
    Loading,
    Ready,
    Unloading,
}

/// Parameters of a load request.
#[derive(Clone, Debug, Default)]
pub struct LoadOverride {
    /// Replaces `config.pbtxt`: Triton's `config` parameter, a JSON text.
    pub config_json: Option<String>,
    /// Replaces the model's files: path within the model's folder (`1/model.onnx`) → contents.
    pub files: BTreeMap<String, bytes::Bytes>,
}
