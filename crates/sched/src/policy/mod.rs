//! What may differ between schedulers: four small parts, combined into named presets.
//!
//! The rules that keep the books right are not here: whatever a part answers, busy and loading models keep their
//! pages, a load has its pages before it starts, and victims are taken only if they make enough room.

mod fifo_lru;
mod sublet;

pub use fifo_lru::{ArrivalOrder, Greedy, LeastRecentlyUsed, MostFree};
pub use sublet::{Delayed, EarliestFinish, LeastSlack, LeastWorth};

use crate::event::{Batching, Request};
use sublet_units::{Bytes, DeviceId, Time};

/// A named combination of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Preset {
    /// As Computron (Zou et al., 2023) does: the model of the oldest request first, loaded whole before it runs, the
    /// least recently used model evicted whole.
    FifoLru,
    /// Deadlines, loads overlapped with runs, eviction by worth per byte.
    #[default]
    Sublet,
}

pub struct Policy {
    pub order: Box<dyn Order>,
    pub placement: Box<dyn Placement>,
    pub eviction: Box<dyn Eviction>,
    pub batching: Box<dyn BatchPolicy>,
}

impl Policy {
    /// `slo`: the deadline, from arrival, of requests that state none.
    pub fn new(preset: Preset, slo: Time) -> Self {
        match preset {
            Preset::FifoLru => Policy {
                order: Box::new(ArrivalOrder),
                placement: Box::new(MostFree),
                eviction: Box::new(LeastRecentlyUsed),
                batching: Box::new(Greedy),
            },
            Preset::Sublet => Policy {
                order: Box::new(LeastSlack { slo }),
                placement: Box::new(EarliestFinish),
                eviction: Box::new(LeastWorth),
                batching: Box::new(Delayed),
            },
        }
    }
}

/// Who goes first; the smaller is the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Urgency {
    /// 0 is kept for requests whose patience has run out.
    pub class: u32,
    pub when: Time,
}

/// Which waiting work goes first.
pub trait Order: Send {
    /// Urgency of a request among those of its model.
    fn request(&self, request: &Request, arrived: Time) -> Urgency;

    /// Urgency of a model among others, from its most urgent request and the time that loading (where it is missing)
    /// and running it will take.
    fn model(&self, first: Urgency, service: Time) -> Urgency;
}

/// A device that could take a model now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadOption {
    pub device: DeviceId,
    /// From now until the first run could have ended.
    pub finish: Time,
    pub free_pages: u32,
    /// Time it would take to bring back what must be evicted.
    pub regret: Time,
}

/// Where models are loaded.
pub trait Placement: Send {
    /// Picks one of the options, which are never empty and in the order of devices.
    fn choose(&self, options: &[LoadOption]) -> usize;

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
    /// Recent requests, in 1/1024, each counting half after every half-life.
    pub uses: u64,
}

/// Who gives up memory.
pub trait Eviction: Send {
    /// What keeping the candidate is worth, whatever the unit; the least worth is evicted first.
    fn worth(&self, candidate: &Candidate) -> u64;

    /// Whether leading segments stay where room allows.
    fn partial(&self) -> bool;
}

/// When a batch is large enough.
pub trait BatchPolicy: Send {
    /// When a batch may start that has `rows` waiting rows, the first of which arrived at `arrived`.
    fn start_at(&self, batching: &Batching, rows: u64, arrived: Time) -> Time;
}
