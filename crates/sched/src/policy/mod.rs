//! What may differ between schedulers: small parts, combined into named presets.
//!
//! The rules that keep the books right are not here: whatever a part answers, busy and loading models keep their
//! pages, a load has its pages before it starts, and victims are taken only if they make enough room.

mod attainment;
mod deepplan;
mod elastic;
mod fifo_lru;
mod gpulet;
mod hasty;
mod preset;
mod sublet;
mod torpor;

pub use deepplan::FixedDevice;
pub use fifo_lru::{ArrivalOrder, Greedy, LeastRecentlyUsed, MostFree};
pub use gpulet::{DutyCycles, ElasticPartitions};
pub use hasty::HastyLanes;
pub use preset::{Policy, Preset};
pub use sublet::{Delayed, EarliestDeadline, EarliestFinish, LeastWorth};
pub use torpor::{LeastLoadedSwitch, OneByOne, ProtectHeavy, RequiredRequests};

use crate::command::Source;
use crate::event::{Batching, ProfilePoint, Request};
use sublet_units::{Bytes, DeviceId, ModelId, Time};

/// Who goes first; the smaller is the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Urgency {
    /// 0 is kept for requests whose patience has run out.
    pub class: u32,
    pub when: Time,
}

/// What waits for a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    pub model: ModelId,
    /// Urgency of its most urgent request, and when its answer should be there.
    pub first: Urgency,
    pub due: Time,
    /// That request cannot be answered in time any more.
    pub late: bool,
    /// Time that running it will take, and that loading (where it is missing) and running will.
    pub run: Time,
    pub service: Time,
    /// Its tenant has had more than its share of compute lately.
    pub over_share: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub model: ModelId,
    pub at: Time,
    pub due: Time,
    /// From its start to its answer, with what was left of its load; `None`: it ended without a run.
    pub took: Option<Time>,
}

impl Outcome {
    pub fn in_time(&self) -> bool {
        self.took.is_some() && self.at <= self.due
    }
}

/// Which waiting work goes first.
pub trait Order: Send {
    /// Urgency of a request among those of its model. `due`: when its answer should be there.
    fn request(&self, request: &Request, arrived: Time, due: Time) -> Urgency;

    /// Urgency of a model among others.
    fn model(&self, work: &Work) -> Urgency;

    /// From when on the work, of this urgency, may take memory from models with less urgent waiting requests.
    fn presses_at(&self, _work: &Work, urgency: Urgency) -> Time {
        urgency.when
    }

    /// How long a request waits, whose answer should be there `span` after its arrival, before it goes before all that
    /// have not waited as long; at most `Config::patience`.
    fn patience(&self, _span: Time) -> Time {
        Time::MAX
    }

    /// Whether urgent work waits for older one as long as all that waits would be in time in any order.
    fn defers(&self) -> bool {
        false
    }

    /// Whether requests that cannot be answered in time any more go after all that can.
    fn gives_up(&self) -> bool {
        false
    }

    /// Whether that holds for requests of this model now.
    fn gives_up_on(&self, _: ModelId) -> bool {
        self.gives_up()
    }

    /// Whether a request that has waited as long as [`Order::patience`] says is put off: it waits for `Config::patience`.
    fn puts_off(&mut self) -> bool {
        false
    }

    /// A request has ended.
    fn ended(&mut self, _: &Outcome) {}

    /// Whether urgencies of all models have changed since this was asked last.
    fn turned(&mut self) -> bool {
        false
    }

    /// When urgencies of models change without an event of theirs.
    fn review_at(&self) -> Time {
        Time::MAX
    }

    /// Makes that change.
    fn review(&mut self, _now: Time) {}
}

/// A device that could take a model now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadOption {
    pub device: DeviceId,
    /// Where the bytes would come from soonest.
    pub source: Source,
    /// From now until the first run could have ended.
    pub finish: Time,
    pub free_pages: u32,
    /// Time it would take to bring back what must be evicted.
    pub regret: Time,
    /// A lane is idle, and nothing more urgent could start on it.
    pub idle: bool,
    /// What the other devices behind the same switch do.
    pub neighbours: Neighbours,
}

/// What goes on behind a switch, beside one device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Neighbours {
    pub running: bool,
    /// One of them copies from another device.
    pub copying: bool,
    /// Bytes that are still to come from the host.
    pub loading: Bytes,
}

/// Where models are loaded.
pub trait Placement: Send {
    /// Picks one of the options, which are never empty and in the order of devices; `None`: rather wait.
    fn choose(&self, model: ModelId, options: &[LoadOption]) -> Option<usize>;

    /// Whether each model has one device.
    fn is_fixed(&self) -> bool {
        false
    }

    /// Which of so many devices that could hold it a model has, where each has one.
    fn home(&self, _model: ModelId, _devices: usize) -> usize {
        0
    }

    /// Whether models are loaded before somebody waits for them.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// Whether to load one more copy of a model. `stay`: the time from now until what waits for it could be done where
    /// the model is; `copy`: on a new device, copying included.
    fn spreads(&self, stay: Time, copy: Time) -> bool;

    /// Whether a run may occupy its lane although its last weights are still `remaining` away. `run`: how long the run
    /// takes, if that is known.
    fn overlaps(&self, remaining: Time, run: Option<Time>) -> bool;
}

/// A model on a device, idle enough to be evicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub resident: Bytes,
    /// Time to bring those bytes back.
    pub reload: Time,
    pub last_used: Time,
    /// From now until its next request is expected.
    pub next_use: Time,
    /// Devices that have the model, this one included.
    pub copies: u32,
    /// What a run takes, if that is known.
    pub run: Option<Time>,
    /// False for a further copy that is yet to be made, in the room of others worth less.
    pub is_there: bool,
    /// More models wait for links than these can bring soon.
    pub rush: bool,
}

/// Who gives up memory.
pub trait Eviction: Send {
    /// What keeping the candidate is worth, whatever the unit; the least worth is evicted first.
    fn worth(&self, candidate: &Candidate) -> u64;

    /// Time that will be lost, in all, by evicting the candidate now.
    fn loss(&self, _: &Candidate) -> Time {
        Time::MAX
    }

    /// Whether leading segments stay where room allows.
    fn partial(&self) -> bool;
}

/// How large batches get.
pub trait BatchPolicy: Send {
    /// When a batch may start that has `rows` waiting rows, the first of which arrived at `arrived` and must start by
    /// `latest` to be answered in time.
    fn start_at(&self, batching: &Batching, rows: u64, arrived: Time, latest: Time) -> Time;

    /// Rows that a batch may have whose answer should be there in `left`; `run` predicts.
    fn rows_max(&self, rows_max: u32, _left: Time, _run: &dyn Fn(u32) -> Option<Time>) -> u32 {
        rows_max
    }
}

/// How devices are divided between models.
pub trait Partition: Send {
    /// How often arrivals are counted.
    fn sample_every(&self) -> Time;

    /// A model's requests since it was asked last, `span` ago.
    fn sample(&mut self, model: ModelId, requests: u64, span: Time);

    /// How often devices are divided anew.
    fn plan_every(&self) -> Time;

    /// Divides the devices; `None`: as they are. One division for each device, in order.
    fn plan(&mut self, demands: &[Demand], devices: usize) -> Option<Vec<Vec<LanePlan>>>;
}

/// A model that a division must serve.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    pub model: ModelId,
    pub slo: Time,
    /// Largest batch, and how long it may gather.
    pub batching: Batching,
    pub profile: &'a [ProfilePoint],
    /// Requests that have ended since it was asked last, and how many of them not in time.
    pub ended: u64,
    pub late: u64,
}

/// A lane of a divided device.
#[derive(Clone, Debug, PartialEq)]
pub struct LanePlan {
    /// Percent of the device's compute.
    pub share: u32,
    /// The models that run there, and nowhere else on the device.
    pub models: Vec<Served>,
}

/// A model on a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    pub model: ModelId,
    /// The batch that it gathers, and how long that may take.
    pub batching: Batching,
}
