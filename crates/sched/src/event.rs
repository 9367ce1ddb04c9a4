//! What the scheduler is told.

use sublet_units::{BatchKey, Bytes, DeviceId, LoadId, ModelId, RequestId, RunId, Time};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    DeviceAdded {
        device: DeviceId,
        spec: DeviceSpec,
    },
    /// Everything on it is gone; runs and loads in flight there have failed.
    DeviceLost {
        device: DeviceId,
    },
    ModelAdded {
        model: ModelId,
        spec: ModelSpec,
    },
    /// No further request for it will arrive. What waits or runs is finished first; then the model is evicted
    /// everywhere and `Command::ModelGone` is emitted.
    ModelRemoved {
        model: ModelId,
    },
    Arrived(Request),
    /// The client gave up. A waiting request ends with `Command::Reject`; a running one runs to its end.
    Cancelled {
        request: RequestId,
    },
    /// The segments of a load up to and including `segment` have arrived. Segments of a load arrive in order; a shell may
    /// report each, or several at once.
    Loaded {
        device: DeviceId,
        load: LoadId,
        segment: u32,
    },
    /// The rest of the load will not arrive, for example because the device that it came from is lost. What had arrived
    /// is given back by `Command::Evict`, once no run in flight reads it. `fatal`: the model can never be loaded there.
    LoadFailed {
        device: DeviceId,
        load: LoadId,
        fatal: bool,
    },
    /// The run and all its requests have ended. `ok` is false when it failed.
    Finished {
        device: DeviceId,
        run: RunId,
        ok: bool,
    },
    /// The time that `next_wakeup` asked for has come.
    Wake,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeviceSpec {
    pub page_bytes: Bytes,
    pub pages: u32,
    pub lanes: u32,
    /// Bytes per second over the host link: a first guess, corrected by observed loads.
    pub link_rate: u64,
    /// Devices with the same number share a switch on their way to the host, so that their loads slow each other.
    pub switch: Option<u32>,
    /// Devices whose memory it can copy from. Empty: it loads from the host only.
    pub peers: Vec<Peer>,
    /// Whether its compute can be divided by `Command::Repartition`.
    pub partitions: bool,
}

/// A link from another device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peer {
    pub device: DeviceId,
    /// Bytes per second: a first guess, corrected by observed loads.
    pub rate: u64,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModelSpec {
    /// Bytes of each segment, in execution order. Empty for a model without weights.
    pub segments: Vec<Bytes>,
    pub batching: Option<Batching>,
    /// At most this many runs of the model at once, over all devices; `None`: no limit.
    pub instances: Option<u32>,
    /// Loaded as soon as there is room, and never evicted once resident.
    pub pinned: bool,
    /// At most this many requests wait for it; `None`: only the scheduler's limits hold.
    pub queue_max: Option<u32>,
    /// Deadline, from arrival, of its requests that state none; `None`: the scheduler's.
    pub slo: Option<Time>,
    /// What runs are known to take, in any order. May be empty: then it is learnt.
    pub profile: Vec<ProfilePoint>,
    /// Who pays for its runs, where `Config::fair` divides compute between tenants.
    pub tenant: u32,
    /// Its tenant's share against other tenants; 0 counts as 1.
    pub weight: u32,
}

/// How long a warm run takes, alone on an idle device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProfilePoint {
    pub rows: u32,
    /// Percent of the device's compute.
    pub share: u32,
    pub time: Time,
}

/// Requests with equal [`BatchKey`] may be joined along dimension 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batching {
    /// Largest number of rows.
    pub rows_max: u32,
    /// How long the oldest request may wait for others to join.
    pub delay_max: Time,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub id: RequestId,
    pub model: ModelId,
    pub key: BatchKey,
    /// Rows of dimension 0; 1 when the model does not batch.
    pub rows: u32,
    /// When the answer should be there; orders work, and counts for attainment.
    pub deadline: Option<Time>,
    /// After this the request is rejected if it has not started.
    pub expires: Option<Time>,
    /// 1 is the most urgent; 0 is written as the default by the engine.
    pub priority: u32,
}
