//! Errors of the driver and of the libraries above it.

use cudarc::driver::sys::{self, CUresult};
use sublet_device::DeviceError;
use sublet_units::Bytes;

/// A call into CUDA that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{call}: {text}")]
pub struct CudaError {
    /// What was called, and on what where that helps.
    pub call: String,
    pub text: String,
    pub kind: CudaErrorKind,
}

/// What a failed call means for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CudaErrorKind {
    OutOfMemory,
    /// The combination of arguments cannot be done; nothing happened.
    Unsupported,
    /// The context is broken, or the failure is not understood: nothing on the device can be trusted any more.
    Lost,
}

impl CudaError {
    pub fn new(kind: CudaErrorKind, call: impl Into<String>, text: impl Into<String>) -> Self {
        CudaError { call: call.into(), text: text.into(), kind }
    }

    pub fn unsupported(call: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(CudaErrorKind::Unsupported, call, text)
    }

    pub fn is_unsupported(&self) -> bool {
        self.kind == CudaErrorKind::Unsupported
    }

    /// The error of the device's seam; `place`: the step, the load, the run.
    pub fn at(self, place: &str) -> DeviceError {
        match self.kind {
            CudaErrorKind::OutOfMemory => DeviceError::OutOfMemory {
                wanted: Bytes::ZERO,
                place: format!("{place} ({})", self.call),
            },
            CudaErrorKind::Unsupported => {
                DeviceError::Unsupported { what: self.to_string(), place: place.to_owned() }
            }
            CudaErrorKind::Lost => DeviceError::Lost(format!("{self} ({place})")),
        }
    }
}

/// Turns the driver's result of `call` into an error.
pub fn check(call: &str, result: CUresult) -> Result<(), CudaError> {
    let kind = match result {
        CUresult::CUDA_SUCCESS => return Ok(()),
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => CudaErrorKind::OutOfMemory,
        CUresult::CUDA_ERROR_NOT_SUPPORTED | CUresult::CUDA_ERROR_INVALID_VALUE => {
            CudaErrorKind::Unsupported
        }
        _ => CudaErrorKind::Lost,
    };
    Err(CudaError::new(kind, call, text(result)))
}

fn text(result: CUresult) -> String {
    let mut name = std::ptr::null();
    // SAFETY: the driver writes a pointer to a string that lives as long as the library, or leaves null.
    let known = unsafe { sys::cuGetErrorName(result, &mut name) } == CUresult::CUDA_SUCCESS;
    if !known || name.is_null() {
        return format!("error {}", result as u32);
    }
    // SAFETY: the driver gave a NUL-terminated string of static lifetime.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    name.to_string_lossy().into_owned()
}
