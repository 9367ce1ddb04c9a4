//! The CUDA driver in owned types: contexts, streams, events, modules, graphs, memory.
//!
//! Thin: each method is one driver call. Every type that holds a handle frees it when it is dropped. Streams are always
//! explicit; nothing here uses the null stream.

mod context;
mod error;
mod event;
mod graph;
mod memory;
mod module;
mod stream;

pub use context::{Context, device_count, is_present};
pub use error::{CudaError, CudaErrorKind, check};
pub use event::Event;
pub use graph::{Graph, capture};
pub use memory::{DeviceBlock, HostBlock, Mapping, PhysicalPage, Registration, Reservation};
pub use module::{Function, LaunchShape, Module};
pub use stream::Stream;

/// An address in device memory.
pub type Address = u64;
