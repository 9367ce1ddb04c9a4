//! Time as a device sees it: passed in, so that tests decide how long a copy takes.

use sublet_units::Time;

/// A monotonic clock that can also wait.
pub trait Clock: Send + Sync {
    fn now(&self) -> Time;

    /// Returns once `now()` is at least `time`. A device paces a copy to its link's rate with this.
    fn wait_until(&self, time: Time);
}
