//! Matrix products by cuBLASLt.

mod call;
mod product;

pub use product::{Compute, Matrix, Product, ProductChoice, Round};

use crate::driver::{CudaError, CudaErrorKind};
use cudarc::cublaslt::sys::{self, cublasStatus_t as Status};
use std::sync::Arc;

/// The library, for the context that was current when it was made.
#[derive(Clone)]
pub struct Blas {
    handle: Arc<Handle>,
}

struct Handle {
    raw: sys::cublasLtHandle_t,
}

// SAFETY: the library documents its handle as usable from several threads at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Blas {
    /// For the context that is current.
    ///
    /// # Errors
    /// When the library is missing or does not start.
    pub fn new() -> Result<Blas, CudaError> {
        if !is_present() {
            let text = "cuBLASLt was not found: libcublasLt.so.13 is not on the library path";
            return Err(CudaError::new(CudaErrorKind::Lost, "looking for cuBLASLt", text));
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cublasLtCreate", unsafe { sys::cublasLtCreate(&mut raw) })?;
        Ok(Blas { handle: Arc::new(Handle { raw }) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made in `new`; every call holds the handle alive.
        let _ = unsafe { sys::cublasLtDestroy(self.raw) };
    }
}

fn is_present() -> bool {
    // SAFETY: only tries to load the library.
    unsafe { sys::is_culib_present() }
}

/// The library's version; `None` when it is missing.
pub fn version() -> Option<usize> {
    // SAFETY: reads a constant of the library, which is present.
    is_present().then(|| unsafe { sys::cublasLtGetVersion() })
}

/// Turns the library's result of `call` into an error.
fn check(call: &str, status: Status) -> Result<(), CudaError> {
    let kind = match status {
        Status::CUBLAS_STATUS_SUCCESS => return Ok(()),
        Status::CUBLAS_STATUS_ALLOC_FAILED => CudaErrorKind::OutOfMemory,
        Status::CUBLAS_STATUS_NOT_SUPPORTED
        | Status::CUBLAS_STATUS_INVALID_VALUE
        | Status::CUBLAS_STATUS_ARCH_MISMATCH => CudaErrorKind::Unsupported,
        _ => CudaErrorKind::Lost,
    };
    Err(CudaError::new(kind, call, format!("{status:?}")))
}
