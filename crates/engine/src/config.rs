//! How to run an engine.

use std::path::PathBuf;
use std::time::Duration;
use sublet_graph::Precision;
use sublet_sched::Preset;
use sublet_units::Bytes;

#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Folders of models, as Triton lays them out.
    pub repositories: Vec<PathBuf>,
    /// Where packed models are kept between starts.
    pub store: PathBuf,
    pub mode: RepositoryMode,
    /// For [`RepositoryMode::Explicit`]: models loaded at the start; `*` means all.
    pub load_at_start: Vec<String>,
    /// The scheduler's preset.
    pub policy: Preset,
    /// Requests that may wait, over all models; more are rejected.
    pub queue_max: usize,
    /// Plans kept per model version.
    pub plans_max: usize,
    /// Cast models from `f32` to this when they are packed; inputs and outputs keep their types.
    pub precision: Option<Precision>,
    /// Largest model file or weights file accepted.
    pub model_bytes_max: Bytes,
    /// Deadline of requests that state none; orders work only.
    pub slo: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryMode {
    /// Load everything at the start; load and unload requests are refused.
    None,
    /// Load everything at the start and follow changes on disk.
    Poll { every: Duration },
    /// Load only what is asked for.
    Explicit,
}
