//! What the scheduler decides.

use std::ops::Range;
use sublet_units::{DeviceId, LaneId, LoadId, ModelId, PageId, RequestId, RunId};

#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Copy these segments into these pages: each segment takes as many whole pages as its bytes need, in order.
    /// Loads of one device from the host are carried out in order, and so are those from other devices; the two do not
    /// wait for each other. The model is whole on a device that it is copied from and stays so until the load ends.
    Load {
        device: DeviceId,
        load: LoadId,
        model: ModelId,
        segments: Range<u32>,
        pages: Vec<PageId>,
        source: Source,
    },
    /// Run these requests as one batch, rows in this order. The model's segments are resident or loading. `cold`: some
    /// were missing when the first of these requests could have started.
    Run {
        device: DeviceId,
        lane: LaneId,
        run: RunId,
        model: ModelId,
        requests: Vec<RequestId>,
        cold: bool,
    },
    /// Take back the pages of these segments; they are always the last resident ones.
    Evict { device: DeviceId, model: ModelId, segments: Range<u32>, cause: EvictCause },
    /// The request ends without a run.
    Reject { request: RequestId, reason: RejectReason },
    /// A removed model has left every device.
    ModelGone { model: ModelId },
    /// From now on the device has these lanes, each with so many percent of its compute. No run is in flight there. Only
    /// for devices that declare it.
    Repartition { device: DeviceId, shares: Vec<u32> },
}

/// Where a load's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Source {
    #[default]
    Host,
    /// Another device that has the model. Only for devices that declare it a peer.
    Peer(DeviceId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvictCause {
    /// Its pages were wanted by another model.
    Room,
    /// The model was removed.
    Removed,
    /// Its load failed.
    LoadFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The model is unknown or being removed.
    NoModel,
    /// The model is larger than any device's memory.
    NeverFits,
    /// The queue is full.
    QueueFull,
    /// It waited past its `expires`.
    Expired,
    Cancelled,
    /// Its swap-in failed and no other device could take it.
    LoadFailed,
    /// No device is left.
    NoDevice,
    /// It could not be answered by its deadline (with `Config::admit`).
    TooLate,
}
