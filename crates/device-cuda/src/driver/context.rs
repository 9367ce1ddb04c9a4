//! Contexts: finding devices, and making one current on a thread.

use super::{CudaError, CudaErrorKind, check};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

/// A device's primary context. Calls need it to be current on their thread: see [`Context::make_current`].
pub struct Context {
    raw: sys::CUcontext,
    device: sys::CUdevice,
    pub properties: Properties,
}

/// What kernels and plans are chosen by.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    pub name: String,
    /// Major and minor compute capability.
    pub capability: (u32, u32),
    pub multiprocessors: u32,
    pub memory_bytes: u64,
    /// Largest dynamic shared memory of a block, after opting in.
    pub shared_bytes_max: u32,
    pub l2_bytes: u32,
    /// The driver's CUDA version, as 13000 for 13.0.
    pub driver_version: u32,
}

// SAFETY: a context may be current on several threads at once; the driver synchronises its own state.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// Whether the driver's library can be loaded.
pub fn is_present() -> bool {
    // SAFETY: only tries to load the library.
    unsafe { sys::is_culib_present() }
}

/// How many devices the driver shows.
///
/// # Errors
/// When there is no driver, or it does not start.
pub fn device_count() -> Result<u32, CudaError> {
    if !is_present() {
        let text = "no CUDA driver was found: libcuda.so.1 is not on the library path";
        return Err(CudaError::new(CudaErrorKind::Lost, "looking for CUDA", text));
    }
    let mut count = 0;
    // SAFETY: initialising twice is allowed.
    check("cuInit", unsafe { sys::cuInit(0) })?;
    // SAFETY: writes one int.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    Ok(count as u32)
}

impl Context {
    /// The primary context of a device, retained until the value is dropped.
    pub fn new(ordinal: u32) -> Result<Arc<Context>, CudaError> {
        let count = device_count()?;
        if ordinal >= count {
            let text = format!("there are {count} CUDA devices");
            let call = format!("looking for cuda:{ordinal}");
            return Err(CudaError::new(CudaErrorKind::Lost, call, text));
        }
        let mut device = 0;
        // SAFETY: writes one handle.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal as c_int) })?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle; released in `drop`.
        check("cuDevicePrimaryCtxRetain", unsafe {
            sys::cuDevicePrimaryCtxRetain(&mut raw, device)
        })?;
        let properties = properties(device)?;
        let context = Arc::new(Context { raw, device, properties });
        context.make_current()?;
        Ok(context)
    }

    /// Makes this the context of the calling thread's driver calls.
    pub fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self` lives.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    pub fn ordinal(&self) -> i32 {
        self.device
    }

    /// Free and total bytes of device memory, as the driver sees them.
    pub fn memory_info(&self) -> Result<(u64, u64), CudaError> {
        self.make_current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two sizes.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `new`.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

fn properties(device: sys::CUdevice) -> Result<Properties, CudaError> {
    let attribute = |attribute: Attribute| -> Result<u32, CudaError> {
        let mut value = 0;
        // SAFETY: writes one int.
        check("cuDeviceGetAttribute", unsafe {
            sys::cuDeviceGetAttribute(&mut value, attribute, device)
        })?;
        Ok(value as u32)
    };
    let mut name: [c_char; 256] = [0; 256];
    // SAFETY: writes at most 256 characters, NUL-terminated.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), 256, device) })?;
    // SAFETY: NUL-terminated by the driver.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let mut memory = 0;
    // SAFETY: writes one size.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut memory, device) })?;
    let mut driver = 0;
    // SAFETY: writes one int.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut driver) })?;
    Ok(Properties {
        name,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: memory as u64,
        shared_bytes_max: attribute(
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        driver_version: driver as u32,
    })
}
