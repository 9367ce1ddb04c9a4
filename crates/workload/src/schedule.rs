//! Arrivals, and a whole run's worth of them.

use serde::{Deserialize, Serialize};
use sublet_units::Time;

/// One request: when, for which model, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Arrival {
    /// From the beginning of the run.
    pub at: Time,
    /// Index of the model, below the workload's number of models.
    pub model: u32,
    pub size: Size,
}

/// How large a request is, where a trace says so: tokens of the prompt and of the answer. Zero means that nobody said.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Size {
    pub input: u32,
    pub output: u32,
}

/// All arrivals of a run, in order of time; of two at one time the lower model comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub models: u32,
    /// Length of the run; every arrival is before it.
    pub span: Time,
    pub arrivals: Vec<Arrival>,
}

impl Schedule {
    /// Arrivals per second.
    pub fn rate(&self) -> f64 {
        self.arrivals.len() as f64 / self.span.as_secs_f64()
    }

    /// Arrivals of each model.
    pub fn per_model(&self) -> Vec<u64> {
        let mut counts = vec![0; self.models as usize];
        self.arrivals.iter().for_each(|arrival| counts[arrival.model as usize] += 1);
        counts
    }
}
