//! The scheduler: a state machine `(now, Event) → Commands` that knows neither devices nor wires nor clocks.
//!
//! [`Scheduler::step`] takes what happened and says what to do. Requests wait in one queue per model and are bound to
//! a device only when their run starts. What may differ between schedulers is in [`Policy`]; the rules that keep
//! memory and requests accounted for are in the state machine itself and hold under any policy.

mod ahead;
mod claims;
mod command;
mod config;
mod device;
mod event;
mod index;
mod loads;
mod model;
mod partitions;
mod placing;
mod policy;
mod predict;
mod queue;
mod rank;
mod requests;
mod rhythm;
mod runs;
mod scheduler;
mod spread;
mod table;
mod timers;
mod victims;

pub use command::{Command, EvictCause, RejectReason, Source};
pub use config::Config;
pub use event::{Batching, DeviceSpec, Event, ModelSpec, Peer, ProfilePoint, Request};
pub use policy::{
    ArrivalOrder, BatchPolicy, Candidate, Delayed, Demand, DutyCycles, EarliestDeadline,
    EarliestFinish, ElasticPartitions, Eviction, FixedDevice, Greedy, HastyLanes, LanePlan,
    LeastLoadedSwitch, LeastRecentlyUsed, LeastWorth, LoadOption, MostFree, Neighbours, OneByOne,
    Order, Outcome, Partition, Placement, Policy, Preset, ProtectHeavy, RequiredRequests, Served,
    Urgency, Work,
};
pub use scheduler::Scheduler;
