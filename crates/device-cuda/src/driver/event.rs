//! Events: points in a stream that others wait for, and that can be timed.

use super::{CudaError, Stream, check};
use cudarc::driver::sys::{self, CUresult};

pub struct Event {
    raw: sys::CUevent,
}

// SAFETY: the driver allows calls on an event from any thread that has its context current.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event in the current context. `timed`: it also notes when it happened, which costs a little.
    pub fn new(timed: bool) -> Result<Event, CudaError> {
        let flags = if timed {
            sys::CUevent_flags::CU_EVENT_DEFAULT
        } else {
            sys::CUevent_flags::CU_EVENT_DISABLE_TIMING
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut raw, flags as u32) })?;
        Ok(Event { raw })
    }

    pub(super) fn raw(&self) -> sys::CUevent {
        self.raw
    }

    /// Marks the point that `stream` has been given work up to.
    pub fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.raw, stream.raw()) })
    }

    /// Whether everything before the recorded point has finished.
    pub fn is_done(&self) -> Result<bool, CudaError> {
        // SAFETY: the handle lives.
        match unsafe { sys::cuEventQuery(self.raw) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            other => check("cuEventQuery", other).map(|()| true),
        }
    }

    /// Waits on the host.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.raw) })
    }

    /// Nanoseconds from `earlier` to this event; both are timed and have happened.
    pub fn since_ns(&self, earlier: &Event) -> Result<u64, CudaError> {
        let mut milliseconds = 0f32;
        // SAFETY: both handles live; writes one float.
        check("cuEventElapsedTime", unsafe {
            sys::cuEventElapsedTime_v2(&mut milliseconds, earlier.raw, self.raw)
        })?;
        Ok((f64::from(milliseconds.max(0.0)) * 1e6) as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        let _ = unsafe { sys::cuEventDestroy_v2(self.raw) };
    }
}
