//! What is wrong with a problem, with its place as data.

use thiserror::Error;

/// Why a problem cannot even be posed. That a good problem has no schedule is an answer, not an error.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PackError {
    #[error("{place} is {value}, but must be {want}")]
    Number { place: String, value: f64, want: &'static str },
    #[error("{place}: {what}")]
    Invalid { place: String, what: String },
    #[error("task {task} needs model {model}, which the profile of {kind} does not have")]
    UnknownModel { task: String, model: String, kind: String },
    #[error(
        "the profile of {kind} has no latency of {model} at batch {batch} on a partition of {size}"
    )]
    MissingLatency { kind: String, model: String, batch: u32, size: u32 },
    #[error(
        "the profile of {kind} has no utilisation of {model} at batch {batch} on a partition of {size}"
    )]
    MissingUtilisation { kind: String, model: String, batch: u32, size: u32 },
    #[error(
        "the pair table of {kind} has no slowdown of {model} (batch {batch}, partition {size}) beside {other} (batch {other_batch})"
    )]
    MissingPair {
        kind: String,
        model: String,
        batch: u32,
        size: u32,
        other: String,
        other_batch: u32,
    },
    #[error("the memory of model {model} is not known")]
    MissingMemory { model: String },
}
