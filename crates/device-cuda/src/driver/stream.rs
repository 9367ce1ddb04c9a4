//! Streams: work in order.

use super::{Address, CudaError, Event, check};
use cudarc::driver::sys;
use std::ffi::c_void;

/// A non-blocking stream of the context that was current when it was made.
pub struct Stream {
    raw: sys::CUstream,
}

// SAFETY: the driver allows calls on a stream from any thread that has its context current.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream in the current context. `urgent`: at the highest priority that the device has.
    pub fn new(urgent: bool) -> Result<Stream, CudaError> {
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: writes two ints.
        check("cuCtxGetStreamPriorityRange", unsafe {
            sys::cuCtxGetStreamPriorityRange(&mut least, &mut greatest)
        })?;
        let mut raw = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        let priority = if urgent { greatest } else { least };
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cuStreamCreate", unsafe {
            sys::cuStreamCreateWithPriority(&mut raw, flags, priority)
        })?;
        Ok(Stream { raw })
    }

    /// For calls into libraries.
    pub fn raw(&self) -> sys::CUstream {
        self.raw
    }

    /// Lets what is enqueued from now on wait for an event. An event that was never recorded holds nothing back.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.raw, event.raw(), 0) })
    }

    /// Waits on the host until everything enqueued has finished.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })
    }

    /// Enqueues a copy to the device.
    ///
    /// # Safety
    /// `from` is readable for `len` bytes and `to` is mapped for as many until the copy has finished.
    pub unsafe fn copy_in(
        &self,
        to: Address,
        from: *const u8,
        len: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: promised by the caller.
        let result = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast::<c_void>(), len, self.raw) };
        check("cuMemcpyHtoDAsync", result)
    }

    /// Enqueues a copy from the device.
    ///
    /// # Safety
    /// `to` is writable for `len` bytes and `from` is mapped for as many until the copy has finished.
    pub unsafe fn copy_out(&self, to: *mut u8, from: Address, len: usize) -> Result<(), CudaError> {
        // SAFETY: promised by the caller.
        let result = unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast::<c_void>(), from, len, self.raw) };
        check("cuMemcpyDtoHAsync", result)
    }

    /// Enqueues a copy within the device.
    ///
    /// # Safety
    /// Both ranges are mapped until the copy has finished, and do not overlap.
    pub unsafe fn copy(&self, to: Address, from: Address, len: usize) -> Result<(), CudaError> {
        // SAFETY: promised by the caller.
        check("cuMemcpyDtoDAsync", unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, len, self.raw) })
    }

    /// Enqueues setting `len` bytes to `value`.
    ///
    /// # Safety
    /// The range is mapped until the fill has finished.
    pub unsafe fn fill(&self, to: Address, value: u8, len: usize) -> Result<(), CudaError> {
        // SAFETY: promised by the caller.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to, value, len, self.raw) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made in `new`; work that is enqueued finishes nevertheless.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }
}
