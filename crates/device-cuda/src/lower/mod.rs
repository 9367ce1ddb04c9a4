//! Lowering: a plan's steps become actions with fixed addresses.
//!
//! `fuse` joins steps into groups that one kernel computes; `place` gives every value that is left an offset in the
//! lane's arena; then each group is emitted: [`step`] is the one exhaustive match over `Op`.

mod emitter;
pub mod fuse;
pub mod ops;
mod order;
mod place;
mod program;
pub mod step;
mod value;

pub use emitter::{Emitter, Gpu};
pub use program::lower;
pub use step::emit;
pub use value::{Order, Value};

/// Why a step cannot be lowered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LowerError {
    /// The device does not do this: the model is refused, naming the step.
    #[error("{0}")]
    Unsupported(String),
    /// A rule of the operator is broken.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Cuda(#[from] crate::driver::CudaError),
}

impl LowerError {
    pub fn unsupported(what: impl Into<String>) -> Self {
        LowerError::Unsupported(what.into())
    }
}
