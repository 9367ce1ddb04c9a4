//! gpulet's files and the profiles that come with them, as text.
//!
//! Every parser takes the file's name (for messages) and its text. An error says the file, the line and what was expected.

mod config;
mod model_list;
mod tables;
mod tasks;
mod text;

pub use config::{DeviceSpec, SchedConfig, device_config, mem_config, names, sched_config};
pub use model_list::{Listed, model_list, to_schedule, write_model_list};
pub use tables::{PairRow, constants, latency, pairs, utilisation, write_constants};
pub use tasks::tasks;
pub use text::FormatError;
