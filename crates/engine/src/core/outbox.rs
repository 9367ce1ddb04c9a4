//! What is left to do when the lock on the core's state is given back: answers, events, and freeing memory.

use super::request::Answer;
use crate::EngineEvent;
use crate::served::{Admitted, CachedPlan, Served};
use std::sync::Arc;
use sublet_device::RunOutput;
use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Outbox {
    pub answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    pub events: Vec<EngineEvent>,
    /// Models that have left every device.
    pub gone: Vec<Arc<Served>>,
    /// Only to be freed.
    pub garbage: Vec<Garbage>,
}

pub(super) enum Garbage {
    Request { _admitted: Admitted, _plan: Arc<CachedPlan>, _served: Arc<Served> },
    Output { _output: RunOutput },
}
