//! The CUDA device: pages of GPU memory, weights copied segment by segment, plans replayed as captured graphs.
//!
//! From below: `driver` puts the CUDA driver into owned types; `jit` compiles kernels, `blas` and `dnn` call the
//! libraries, `tune` remembers what was measured to be fastest; `lower` turns a plan into a `program` of actions with
//! fixed addresses; `memory` has pages, regions and arenas; `link` copies weights and `lane` runs programs, each on a
//! thread of its own; [`CudaDevice`] puts them together.
//!
//! The only crate that names CUDA. Device addresses never leave it.

mod blas;
mod bring;
mod cache;
mod copiers;
mod cuts;
mod device;
mod dnn;
mod driver;
mod jit;
mod lane;
mod link;
mod link_rate;
mod lower;
mod memory;
mod options;
mod prepared;
mod program;
mod shared;
mod solo;
mod trace;
mod tune;

pub use cache::{Cache, NoCache};
pub use device::CudaDevice;
pub use driver::{CudaError, device_count, is_present};
pub use options::{CudaOptions, Precision, Tf32};
pub use solo::{Solo, run_plan};
pub use trace::Span;
