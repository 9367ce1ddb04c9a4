//! Captured graphs: many launches replayed as one.

use super::{CudaError, Stream, check};
use cudarc::driver::sys;

/// An instantiated graph. It names addresses, not pages: it stays valid while pages come and go behind them.
pub struct Graph {
    exec: sys::CUgraphExec,
}

// SAFETY: launches of a graph are serialised by whoever owns it; the handle is not bound to a thread.
unsafe impl Send for Graph {}

/// Records what `enqueue` puts on `stream`, which then does not run, as a graph.
pub fn capture<E: From<CudaError>>(
    stream: &Stream,
    enqueue: impl FnOnce() -> Result<(), E>,
) -> Result<Graph, E> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: the handle lives; the capture is ended below on every path.
    check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) })?;
    let enqueued = enqueue();
    let mut graph = std::ptr::null_mut();
    // SAFETY: ends the capture begun above; writes one handle.
    let ended = unsafe { sys::cuStreamEndCapture(stream.raw(), &mut graph) };
    enqueued?;
    check("cuStreamEndCapture", ended)?;
    let mut exec = std::ptr::null_mut();
    // SAFETY: the graph was made above; writes one handle, destroyed in `drop`.
    let made = unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) };
    // SAFETY: the template is no longer needed.
    let _ = unsafe { sys::cuGraphDestroy(graph) };
    check("cuGraphInstantiate", made)?;
    Ok(Graph { exec })
}

impl Graph {
    /// Enqueues a replay.
    pub fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.exec, stream.raw()) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated in `capture`; the driver keeps it until a running replay has ended.
        let _ = unsafe { sys::cuGraphExecDestroy(self.exec) };
    }
}
