//! What happens inside, for those who watch: the demo, logs, metrics.

use crate::ModelState;
use sublet_units::{Bytes, DeviceId, Time};

#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// Every missing segment of a model has arrived on a device.
    SwappedIn {
        device: DeviceId,
        model: String,
        version: u64,
        bytes: Bytes,
        took: Time,
    },
    Evicted {
        device: DeviceId,
        model: String,
        version: u64,
        bytes: Bytes,
        cause: SwapCause,
    },
    Changed {
        model: String,
        version: u64,
        state: ModelState,
    },
    DeviceLost {
        device: DeviceId,
        message: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapCause {
    Room,
    Removed,
    LoadFailed,
}
