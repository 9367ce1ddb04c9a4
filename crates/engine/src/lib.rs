//! The shell around the scheduler: model repository and store, devices, the real clock.
//!
//! [`Engine`] is the whole interface for the server and the command line. It is cheap to clone and its methods may
//! be called from any thread. Those that may take long say so.
//!
//! From the outside in: `repository` and `config_text` read what is on disk, `store` keeps packed models, `lifecycle`
//! brings versions into service and out of it, `served` is one of them, `core` drives the scheduler and the devices.

mod clock;
mod config;
mod config_text;
mod core;
mod engine;
mod error;
mod event;
mod infer;
mod inspect;
mod lifecycle;
mod model;
mod repository;
mod served;
mod statistics;
mod store;

pub use config::{EngineConfig, RepositoryMode};
pub use config_text::{
    ConfigError, ConfigText, Place, TensorText, parse_config_json, parse_config_text,
};
pub use engine::Engine;
pub use error::{EngineError, ErrorKind};
pub use event::{EngineEvent, SwapCause};
pub use infer::{InferRequest, InferResponse, NamedTensor, Pending, Timing};
pub use inspect::{InspectOptions, Inspection, inspect};
pub use model::{
    ConfigTensor, DynamicBatching, IndexEntry, LoadOverride, ModelConfig, ModelMetadata,
    ModelState, TensorMetadata, VersionPolicy,
};
pub use statistics::{BatchStatistics, DeviceStatus, DurationStat, ModelStatistics};
pub use store::{PackedError, check_packed};
pub use sublet_sched::Preset as Policy;
