//! The offline packer: which models share which part of which GPU, so that the fewest GPUs serve every model within its SLO.
//!
//! The problem is gpulet's (USENIX ATC 2022): a GPU is divided into partitions, each shared in time by a few models, and
//! partitions of one GPU slow each other down. [`pack`] solves it exactly, [`greedy`] as published, and [`check`] verifies any
//! schedule from the definitions alone. Everything here is arithmetic: files are read and written by the caller, as text.

mod bearing;
mod bound;
mod build;
mod checker;
mod choices;
mod cover;
mod error;
mod explain;
mod fit;
pub mod formats;
mod gpu;
mod greedy;
mod group;
mod interference;
mod movement;
mod pairs;
mod poisson;
mod problem;
mod profile;
mod schedule;
mod search;
mod solve;

pub use checker::{Place, Violation, check};
pub use error::PackError;
pub use explain::{ExplainedPartition, ExplainedRun, Other, explain};
pub use fit::{Fit, FitError, assess, fit};
pub use greedy::greedy;
pub use interference::{Interference, Linear, PairTable};
pub use poisson::ninety_ninth;
pub use problem::{Gpus, Problem, Rules, Task};
pub use profile::{Profile, Utilisation};
pub use schedule::{Answer, Packing, Partition, Proof, Refusal, Run, Schedule};
pub use solve::{Effort, pack};
