//! The real clock: monotonic time since the engine started.

use std::time::{Duration, Instant};
use sublet_device::Clock;
use sublet_units::Time;

pub(crate) struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    pub fn new() -> Self {
        MonotonicClock { start: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Time {
        self.start.elapsed().into()
    }

    fn wait_until(&self, time: Time) {
        // Sleeping may end early on some systems, so look again.
        loop {
            let left = time.saturating_sub(self.now());
            if left == Time::ZERO {
                return;
            }
            std::thread::sleep(Duration::from(left));
        }
    }
}
