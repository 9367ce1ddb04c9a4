//! The engine's tables: requests, runs and loads in flight, and where each model is resident.

use super::counters::CountersIndex;
use crate::served::{Admitted, CachedPlan, Served};
use crate::{EngineError, InferResponse};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use sublet_units::{Bytes, DeviceId, ModelId, RequestId, Time};
use tokio::sync::oneshot;

pub(super) type Answer = Result<InferResponse, EngineError>;

/// A request from its arrival to its answer.
pub(super) struct Request {
    pub served: Arc<Served>,
    pub admitted: Admitted,
    /// For the request's own shapes.
    pub plan: Arc<CachedPlan>,
    pub answer: oneshot::Sender<Answer>,
    pub counters: CountersIndex,
    /// The id under which the scheduler knows it now.
    pub ticket: Arc<AtomicU64>,
    pub arrived: Time,
    pub started: Option<Time>,
    pub deadline: Option<Time>,
    pub priority: u32,
}

/// A batch on a device.
pub(super) struct Run {
    pub device: DeviceId,
    pub model: ModelId,
    pub requests: Vec<RequestId>,
    pub rows: u32,
    pub cold: bool,
}

/// A swap-in, or a part of one, on its way to a device.
pub(super) struct Arriving {
    pub device: DeviceId,
    pub model: ModelId,
    /// One past its last segment.
    pub end: u32,
}

/// How much of a model a device holds.
#[derive(Clone, Default)]
pub(super) struct Residency {
    /// Segments from the first on.
    pub segments: u32,
    /// Set while segments are on their way: since when, and the bytes that arrived.
    pub swap: Option<(Time, Bytes)>,
}
