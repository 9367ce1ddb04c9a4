//! Matrix products by cuBLASLt.

use crate::driver::CudaError;

/// A handle of the library, for one thread.
pub struct Blas {}

impl Blas {
    /// For the context that is current.
    pub fn new() -> Result<Blas, CudaError> {
        Ok(Blas {})
    }
}
