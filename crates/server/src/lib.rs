//! The wire: the Open Inference Protocol over HTTP and gRPC with Triton's extensions, and Prometheus metrics.
//!
//! [`serve`] opens the ports and answers from an [`Engine`](sublet_engine::Engine). No other crate knows HTTP, gRPC,
//! JSON bodies or the protobuf wire. Both protocols decode to one [`Call`] and share everything behind it.

mod app;
mod auth;
mod budget;
mod call;
mod classify;
mod config;
mod error_table;
mod grpc;
pub mod http;
mod infer;
mod limits;
mod listen;
mod logging;
mod metrics;
mod names;
mod network;
mod parameters;
mod repository;
mod running;
mod shared_memory;
mod stall;
mod tensor;
mod trace;
mod trace_file;

pub use call::{Call, Delivery, OutputSpec};
pub use config::{LogControl, LogSettings, ServerConfig};
pub use error_table::{Cause, Failure};
pub use grpc::{decode_request, pb};
pub use limits::ServerLimits;
pub use running::{Running, ServerError, serve};
pub use shared_memory::SystemRegions;
