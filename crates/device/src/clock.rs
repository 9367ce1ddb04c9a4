//! Time as a device sees it: passed in, so that tests decide how long a copy takes.

use std::sync::{Condvar, Mutex, PoisonError};
use sublet_units::Time;

/// A monotonic clock that can also wait.
pub trait Clock: Send + Sync {
    fn now(&self) -> Time;

    /// Returns once `now()` is at least `time`. A device paces a copy to its link's rate with this.
    fn wait_until(&self, time: Time);
}

/// A clock that stands still until somebody moves it, for deterministic tests.
#[derive(Default)]
pub struct ManualClock {
    now: Mutex<Time>,
    moved: Condvar,
}

impl ManualClock {
    /// Moves the clock forward and wakes those for whom it is time.
    pub fn advance(&self, by: Time) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.moved.notify_all();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, time: Time) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        while *now < time {
            now = self.moved.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn waiting_ends_when_the_time_has_come() {
        let clock = Arc::new(ManualClock::default());
        clock.wait_until(Time::ZERO);
        let waiter = {
            let clock = clock.clone();
            std::thread::spawn(move || {
                clock.wait_until(Time(10));
                clock.now()
            })
        };
        clock.advance(Time(4));
        clock.advance(Time(6));
        assert_eq!(waiter.join().unwrap(), Time(10));
    }
}
