//! Convolutions by cuDNN, through its graph interface.
//!
//! `convolution` says what is computed; `graph` describes it to the library as a graph of operations; `engine` asks
//! which engines can run the graph, and keeps those whose arithmetic is allowed; `plan` makes one of them callable.

mod attention;
mod convolution;
mod convolution_graph;
mod descriptor;
mod engine;
mod graph;
mod plan;

pub use attention::SdpAttention;
pub use convolution::{Convolution, Direction, Fused, Layout};
pub use engine::EngineChoice;

use crate::driver::{CudaError, CudaErrorKind};
use cudarc::cudnn::sys::{self, cudnnStatus_t};
use plan::Plans;
use std::ffi::CStr;
use std::sync::{Arc, Mutex};

/// The library, for the context that was current when it was made and for one thread.
#[derive(Clone)]
pub struct Dnn {
    /// Before the handle, so that plans go before it.
    plans: Arc<Mutex<Plans>>,
    handle: Arc<Handle>,
    workspace_bytes_max: usize,
}

struct Handle {
    raw: sys::cudnnHandle_t,
}

// SAFETY: a handle may move between threads; a lane's thread alone makes calls with its handle.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Dnn {
    /// For the context that is current. No engine is chosen that wants more scratch memory than `workspace_bytes_max`.
    ///
    /// # Errors
    /// When the library is missing, too old or does not start.
    pub fn new(workspace_bytes_max: usize) -> Result<Dnn, CudaError> {
        let lost = |text: String| CudaError::new(CudaErrorKind::Lost, "looking for cuDNN", text);
        match version() {
            None => {
                let text = "cuDNN was not found: libcudnn.so.9 is not on the library path";
                return Err(lost(text.to_owned()));
            }
            Some(version) if version < OLDEST => {
                return Err(lost(format!("cuDNN {version} is too old: {OLDEST} is needed")));
            }
            Some(_) => {}
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cudnnCreate", unsafe { sys::cudnnCreate(&mut raw) })?;
        Ok(Dnn { handle: Arc::new(Handle { raw }), plans: Arc::default(), workspace_bytes_max })
    }
}

/// 9.1, written as the library does.
const OLDEST: usize = 90_100;

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made in `new`; every plan holds the handle alive.
        let _ = unsafe { sys::cudnnDestroy(self.raw) };
    }
}

/// The library's version, as 91400 for 9.14; `None` when it is missing.
pub fn version() -> Option<usize> {
    // SAFETY: only tries to load the library, then reads a constant of it.
    unsafe { sys::is_culib_present().then(|| sys::cudnnGetVersion()) }
}

/// Turns the library's result of `call` into an error.
fn check(call: &str, status: cudnnStatus_t) -> Result<(), CudaError> {
    let code = status as u32;
    let kind = match code {
        0 => return Ok(()),
        // Thousands tell the kind: parameters that do not fit, things it cannot do, trouble inside, failed launches.
        4003 | 4004 => CudaErrorKind::OutOfMemory,
        2000..5000 => CudaErrorKind::Unsupported,
        _ => CudaErrorKind::Lost,
    };
    let mut message = [0; 512];
    // SAFETY: writes at most as many characters, NUL-terminated.
    unsafe { sys::cudnnGetLastErrorString(message.as_mut_ptr(), message.len()) };
    *message.last_mut().expect("it is not empty") = 0;
    // SAFETY: the last character is NUL.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
    Err(CudaError::new(kind, call, format!("status {code}: {}", message.trim())))
}
