//! Units that every other crate shares: time, bytes and typed identifiers.
//!
//! Nothing here reads a clock: a [`Time`] is a number that somebody passes in, so that the same scheduler
//! runs in production, in simulation and in tests.

mod bytes;
mod ids;
pub mod span;
mod time;

pub use bytes::Bytes;
pub use ids::{BatchKey, DeviceId, LaneId, LoadId, ModelId, PageId, RequestId, RunId};
pub use time::Time;
