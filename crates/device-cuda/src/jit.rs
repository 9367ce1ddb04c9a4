//! Kernels compiled at run time, kept between processes.

use crate::cache::Cache;
use crate::driver::{Context, CudaError};
use std::sync::Arc;

/// Compiles CUDA C++ for one device.
pub struct Jit {
    #[allow(unused)]
    context: Arc<Context>,
    #[allow(unused)]
    cache: Arc<dyn Cache>,
}

impl Jit {
    pub fn new(context: Arc<Context>, cache: Arc<dyn Cache>) -> Result<Jit, CudaError> {
        Ok(Jit { context, cache })
    }
}
