//! Typed identifiers. Each is a plain number that is never reused within one process.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $number:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// One version of one model, as loaded once. A reload gets a new id.
    ModelId, u32, "m"
);
id!(
    /// A GPU or a CPU device: its index in the order given on the command line.
    DeviceId, u32, "d"
);
id!(
    /// An execution stream of a device.
    LaneId, u32, "l"
);
id!(
    /// A physical page of one device's memory.
    PageId, u32, "p"
);
id!(
    /// One inference request.
    RequestId, u64, "q"
);
id!(
    /// One swap-in of a model to a device.
    LoadId, u64, "s"
);
id!(
    /// One launch of a batch on a lane.
    RunId, u64, "r"
);
id!(
    /// What two requests of one model must have in common to run in one batch: the shapes of their inputs
    /// without the batch dimension, hashed.
    BatchKey, u64, "k"
);
