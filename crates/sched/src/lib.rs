//! The scheduler: a state machine `(now, Event) → Commands` that knows neither devices nor wires nor clocks.

mod command;
mod event;

pub use command::{Command, EvictCause, RejectReason};
pub use event::{Batching, DeviceSpec, Event, ModelSpec, Request};
