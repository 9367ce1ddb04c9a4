//! Modules of compiled kernels, and launching them.

use super::{CudaError, Stream, check};
use cudarc::driver::sys;
use std::ffi::{CString, c_void};
use std::sync::Arc;

/// Loaded machine code.
pub struct Module {
    raw: sys::CUmodule,
}

// SAFETY: a module is immutable once loaded.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

/// A kernel, which keeps its module loaded.
#[derive(Clone)]
pub struct Function {
    raw: sys::CUfunction,
    _module: Arc<Module>,
}

// SAFETY: a function is immutable once loaded, but for its attributes, which are set before it is shared.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// Grid, block and dynamic shared memory of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
}

impl LaunchShape {
    /// One thread per element, in blocks of `block`.
    pub fn linear(elements: usize, block: u32) -> LaunchShape {
        let blocks = elements.div_ceil(block as usize).max(1);
        let grid = [u32::try_from(blocks).expect("a grid of fewer than 2^32 blocks"), 1, 1];
        LaunchShape { grid, block: [block, 1, 1], shared_bytes: 0 }
    }
}

impl Module {
    /// Loads a cubin (or PTX, NUL-terminated) into the current context.
    pub fn load(image: &[u8]) -> Result<Arc<Module>, CudaError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the image is a whole cubin or NUL-terminated PTX; the driver copies it.
        let result = unsafe { sys::cuModuleLoadData(&mut raw, image.as_ptr().cast::<c_void>()) };
        check("cuModuleLoadData", result)?;
        Ok(Arc::new(Module { raw }))
    }

    /// The kernel of that (unmangled) name. `shared_bytes`: the most dynamic shared memory it will be launched with.
    pub fn function(
        self: &Arc<Self>,
        name: &str,
        shared_bytes: u32,
    ) -> Result<Function, CudaError> {
        let mut raw = std::ptr::null_mut();
        let text = CString::new(name).expect("a kernel's name has no NUL");
        // SAFETY: the module lives; the name is NUL-terminated.
        let result = unsafe { sys::cuModuleGetFunction(&mut raw, self.raw, text.as_ptr()) };
        check(&format!("cuModuleGetFunction {name}"), result)?;
        if shared_bytes > 48 << 10 {
            let attribute =
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was found above.
            let result = unsafe { sys::cuFuncSetAttribute(raw, attribute, shared_bytes as i32) };
            check(&format!("cuFuncSetAttribute {name}"), result)?;
        }
        Ok(Function { raw, _module: self.clone() })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`; no function of it is left.
        let _ = unsafe { sys::cuModuleUnload(self.raw) };
    }
}

impl Function {
    /// Enqueues a launch. `parameters` point to one value per parameter of the kernel, in order.
    ///
    /// # Safety
    /// The values have the kernel's parameter types, and what the kernel does with them is within mapped memory.
    pub unsafe fn launch(
        &self,
        stream: &Stream,
        shape: &LaunchShape,
        parameters: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        let ([gx, gy, gz], [bx, by, bz]) = (shape.grid, shape.block);
        let values = parameters.as_mut_ptr();
        let (shared, stream) = (shape.shared_bytes, stream.raw());
        // SAFETY: promised by the caller.
        check("cuLaunchKernel", unsafe {
            sys::cuLaunchKernel(
                self.raw,
                gx,
                gy,
                gz,
                bx,
                by,
                bz,
                shared,
                stream,
                values,
                std::ptr::null_mut(),
            )
        })
    }
}
