//! Suites of known answers, run on devices.
//!
//! [`onnx_node`] runs ONNX's own node tests against a manifest of expected outcomes; [`mod@reference`] compares the
//! real models of the catalogue with ONNX Runtime. Both go the way that a served model goes: import, rewrite,
//! layout, plan, device. Which device, a [`Target`] says; [`Direct`] drives one without a scheduler.

pub mod cases;
mod compare;
mod direct;
mod model;
pub mod onnx_node;
pub mod problems;
pub mod reference;
mod target;
mod tensors;

pub use compare::{Tolerance, difference, relative_difference};
pub use direct::{Attached, Direct, Loading, Running};
pub use model::{Failure, Loaded};
pub use target::{OnDevice, Solo, Target};
pub use tensors::{read_tensors, write_tensors};
