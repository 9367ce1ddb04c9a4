//! Time as a device sees it: passed in, so that tests decide how long a copy takes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
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
    state: Mutex<ManualState>,
    changed: Condvar,
}

#[derive(Default)]
struct ManualState {
    now: Time,
    /// What the waiting threads wait for.
    waiting: Vec<Time>,
}

impl ManualClock {
    /// Moves the clock forward and wakes those for whom it is time.
    pub fn advance(&self, by: Time) {
        self.lock().now += by;
        self.changed.notify_all();
    }

    /// Waits until some thread waits for a time to come, and moves the clock to the earliest such time.
    pub fn advance_to_waiter(&self) -> Time {
        let mut state = self.lock();
        loop {
            let now = state.now;
            if let Some(&time) = state.waiting.iter().filter(|&&time| time > now).min() {
                state.now = time;
                self.changed.notify_all();
                return time;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        self.lock().now
    }

    fn wait_until(&self, time: Time) {
        let mut state = self.lock();
        if state.now >= time {
            return;
        }
        state.waiting.push(time);
        self.changed.notify_all();
        while state.now < time {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let place = state.waiting.iter().position(|&other| other == time);
        state.waiting.swap_remove(place.expect("it was pushed above"));
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

    #[test]
    fn the_earliest_waiter_goes_first() {
        let clock = Arc::new(ManualClock::default());
        let waiter = {
            let clock = clock.clone();
            std::thread::spawn(move || [7, 9].map(|time| clock.wait_until(Time(time))))
        };
        assert_eq!(clock.advance_to_waiter(), Time(7));
        assert_eq!(clock.advance_to_waiter(), Time(9));
        waiter.join().unwrap();
        assert_eq!(clock.now(), Time(9));
    }
}
