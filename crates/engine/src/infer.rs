//! One inference: what is asked and what is answered.

use crate::{EngineError, ErrorKind};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::Thread;
use std::time::Duration;
use sublet_graph::Literal;
use tokio::sync::oneshot;

#[derive(Clone, Debug)]
pub struct InferRequest {
    pub model: String,
    /// `None`: the newest ready version.
    pub version: Option<u64>,
    /// In any order. Optional inputs may be left out.
    pub inputs: Vec<NamedTensor>,
    /// Outputs wanted; empty: all.
    pub outputs: Vec<String>,
    /// 1 is the most urgent; 0: the model's default.
    pub priority: u32,
    /// Rejected if it has not started after this.
    pub timeout: Option<Duration>,
    /// When the answer should be there, counted from now; orders work and counts for attainment.
    pub slo: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct NamedTensor {
    pub name: String,
    pub tensor: Literal,
}

#[derive(Debug)]
pub struct InferResponse {
    pub model: String,
    pub version: u64,
    /// In the order asked for, or the model's.
    pub outputs: Vec<NamedTensor>,
    pub timing: Timing,
}

/// Where the time of one request went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    pub queue: Duration,
    pub input: Duration,
    pub compute: Duration,
    /// Waiting for weights while running.
    pub stalled: Duration,
    pub output: Duration,
    /// Weights were missing on the device when the request arrived at it.
    pub cold: bool,
    /// Rows in the batch that the request ran in.
    pub batch_rows: u32,
}

/// A queued request: await it for the answer, or wait for it. Dropping it cancels the request.
pub struct Pending {
    pub(crate) answer: oneshot::Receiver<Result<InferResponse, EngineError>>,
    pub(crate) cancel: Option<Box<dyn FnOnce() + Send>>,
}

impl Pending {
    /// Blocks until the answer is there; not for async code.
    ///
    /// # Errors
    /// Why the request was not served; `Unavailable` when the engine stopped.
    pub fn wait(mut self) -> Result<InferResponse, EngineError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match Pin::new(&mut self).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<InferResponse, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.cancel = None;
        Poll::Ready(answer.unwrap_or_else(|_| {
            Err(EngineError::new(ErrorKind::Unavailable, "the server is shutting down"))
        }))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            // Nobody listens any more, which spares running it again where a batch fails.
            self.answer.close();
            cancel();
        }
    }
}

/// Wakes a thread that waits for an answer.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
