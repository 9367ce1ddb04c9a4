//! The seam that a device implements, at the level of plans.
//!
//! A [`Device`] executes commands in the order given, on threads of its own, and reports each completion to its
//! [`Sink`]. No method blocks, and none calls the sink before it returns.

mod buffer;
mod clock;
mod error;
mod image;
pub mod parts;

pub use buffer::AlignedBuffer;
pub use clock::{Clock, ManualClock};
pub use error::DeviceError;
pub use image::{Image, WeightType};

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use sublet_graph::Literal;
use sublet_plan::Plan;
use sublet_units::{Bytes, DeviceId, LaneId, LoadId, ModelId, PageId, RunId, Time};

/// A GPU or the CPU device.
pub trait Device: Send + Sync {
    /// Constant for the life of the device.
    fn info(&self) -> &DeviceInfo;

    /// Starts the device's threads. Called once, before anything else.
    fn start(&self, id: DeviceId, clock: Arc<dyn Clock>, sink: Sink);

    /// Reserves a region for a model. Nothing is resident yet.
    fn attach(&self, model: ModelId, image: Arc<Image>) -> Result<(), DeviceError>;

    /// Frees the region. The caller has evicted every segment, and nothing of the model is in flight.
    fn detach(&self, model: ModelId);

    /// Enqueues the copy of `segments` of a model, in order, into `pages` that the caller owns. Reports
    /// [`Completion::Loaded`] for each segment, or [`Completion::LoadFailed`] once.
    fn load(&self, load: Load);

    /// Takes pages back from the last resident segments on. The caller guarantees that no run that reads them is
    /// in flight; the pages may be given to another model at once.
    fn evict(&self, model: ModelId, segments: Range<u32>);

    /// Enqueues a run. Each step waits, on the device, for the segments it reads. Reports [`Completion::Ran`].
    fn launch(&self, launch: Launch);

    /// What the device holds right now, for metrics.
    fn usage(&self) -> DeviceUsage;

    /// Ends the device's threads once what is enqueued has finished.
    fn shutdown(&self);
}

#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// For people: `cpu:0`, `cuda:1 NVIDIA H200`.
    pub name: String,
    pub page_bytes: Bytes,
    pub pages: u32,
    pub lanes: u32,
    /// Bytes per second over the host link, as configured or measured; `None` where only memory speed limits it.
    pub link_rate: Option<u64>,
    /// Largest arena that a plan may ask for.
    pub arena_bytes_max: Bytes,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct DeviceUsage {
    pub resident_bytes: Bytes,
    pub arena_bytes: Bytes,
    /// Share of wall time, 0 to 1, that a lane was computing since the start.
    pub busy: f64,
    pub copied_bytes: Bytes,
}

pub struct Load {
    pub load: LoadId,
    pub model: ModelId,
    pub segments: Range<u32>,
    pub pages: Vec<PageId>,
}

pub struct Launch {
    pub run: RunId,
    pub lane: LaneId,
    pub model: ModelId,
    pub plan: Arc<dyn PlanSource>,
    /// One per request of the batch, in order.
    pub parts: Vec<Part>,
}

/// One request's share of a batch: it occupies `rows` of dimension 0 of every input and output when the launch has
/// several parts; a launch of one part may have inputs of any shape.
pub struct Part {
    pub rows: usize,
    /// In the order of the plan's inputs.
    pub inputs: Vec<Literal>,
}

/// A plan, made when first asked for; asking again is cheap.
pub trait PlanSource: Send + Sync {
    fn plan(&self) -> Result<Arc<Plan>, DeviceError>;
}

/// A plan made on first use by a closure, and kept.
pub struct LazyPlan<F> {
    plan: OnceLock<Result<Arc<Plan>, DeviceError>>,
    make: F,
}

impl<F: Fn() -> Result<Plan, DeviceError>> LazyPlan<F> {
    pub fn new(make: F) -> Self {
        LazyPlan { plan: OnceLock::new(), make }
    }

    /// Whether it was asked for before, so that asking is quick.
    pub fn is_made(&self) -> bool {
        self.plan.get().is_some()
    }
}

impl<F: Fn() -> Result<Plan, DeviceError> + Send + Sync> PlanSource for LazyPlan<F> {
    fn plan(&self) -> Result<Arc<Plan>, DeviceError> {
        self.plan.get_or_init(|| (self.make)().map(Arc::new)).clone()
    }
}

/// Receives completions; called from the device's threads, must return quickly.
pub type Sink = Arc<dyn Fn(DeviceId, Completion) + Send + Sync>;

#[derive(Debug)]
pub enum Completion {
    Loaded {
        load: LoadId,
        segment: u32,
    },
    LoadFailed {
        load: LoadId,
        error: DeviceError,
    },
    Ran {
        run: RunId,
        result: Result<RunOutput, DeviceError>,
    },
    /// The device is gone. Everything in flight has been or will be reported as failed with [`DeviceError::Lost`].
    Lost {
        error: DeviceError,
    },
}

#[derive(Debug)]
pub struct RunOutput {
    /// For each part, the plan's outputs in order, with that part's rows.
    pub parts: Vec<Vec<Literal>>,
    pub timing: RunTiming,
}

/// Spans of one run.
#[derive(Clone, Copy, Default, Debug)]
pub struct RunTiming {
    /// Bringing inputs to the device.
    pub input: Time,
    /// From first step to last, without `stalled`.
    pub compute: Time,
    /// Waiting for segments.
    pub stalled: Time,
    /// Bringing outputs back.
    pub output: Time,
}
