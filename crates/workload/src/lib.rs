//! Workloads: which model is asked for at what time, fixed by a description and a seed.
//!
//! A [`WorkloadSpec`] describes arrivals (an interval process, loads that change from interval to interval, or a
//! recorded trace) and how they are split over models. With a number of models, a seed and a way to get the bytes of
//! traces it becomes a [`Workload`], which gives the same arrivals every time: whole, as a [`Schedule`], or one at a
//! time, as an [`Arrivals`] iterator for runs too long to keep. Everything is open loop: no arrival waits for an answer.
//!
//! The random numbers and the formulas that turn them into distributions are this crate's own, so that a schedule
//! does not change with somebody else's release.

mod alias;
mod counts;
mod draw;
mod error;
mod gap;
mod levels;
mod schedule;
mod spec;
mod split;
mod stream;
mod trace;
mod workload;

pub use draw::Draw;
pub use error::{TraceError, WorkloadError};
pub use schedule::{Arrival, Schedule, Size};
pub use spec::{
    Assignment, CountsFormat, Level, Levels, MarkovState, Process, Split, Spread, TimestampsFormat,
    WorkloadSpec,
};
pub use stream::Arrivals;
pub use workload::Workload;
