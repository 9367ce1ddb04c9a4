//! A scenario's faults in the order in which they happen.

use super::device;
use crate::cost::ONE;
use crate::scenario::{Faults, Setup};
use fastrand::Rng;
use std::collections::BTreeMap;
use sublet_units::{DeviceId, RequestId, Time};

/// Something done to the world from outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    SetSpeed(DeviceId, u64),
    Lose(DeviceId),
    Ask { model: u32, requests: u32 },
    Cancel(RequestId),
}

#[derive(Debug)]
pub(super) struct Plan {
    acts: BTreeMap<(Time, u64), Act>,
    added: u64,
    rng: Rng,
    /// Percent of requests that are cancelled, and within what time.
    cancels: (u32, Time),
}

impl Plan {
    pub fn new(faults: &Faults, setup: &Setup) -> Self {
        let cancels = faults.cancels.as_ref().map_or((0, Time::ZERO), |c| (c.percent, c.within));
        let rng = Rng::with_seed(setup.seed ^ 0xfa17);
        let mut plan = Plan { acts: BTreeMap::new(), added: 0, rng, cancels };
        for slow in &faults.slow_link {
            let speed = (slow.speed * ONE as f64) as u64;
            plan.add(slow.from, Act::SetSpeed(device(slow.device), speed));
            plan.add(slow.until, Act::SetSpeed(device(slow.device), ONE));
        }
        for lost in &faults.lost_device {
            plan.add(lost.at, Act::Lose(device(lost.device)));
        }
        let asked = if setup.apps.is_empty() { setup.models.len() } else { setup.apps.len() };
        for burst in &faults.burst {
            let model = plan.rng.u32(0..asked as u32);
            plan.add(burst.at, Act::Ask { model, requests: burst.requests });
        }
        plan
    }

    /// What is due first, if it is due by then.
    pub fn pop_until(&mut self, until: Time) -> Option<(Time, Act)> {
        let (&key, &act) = self.acts.first_key_value()?;
        if key.0 > until {
            return None;
        }
        self.acts.remove(&key);
        Some((key.0, act))
    }

    /// Draws which of the requests `from..to`, just arrived, will be cancelled.
    pub fn consider(&mut self, now: Time, from: u64, to: u64) {
        let (percent, within) = self.cancels;
        if percent == 0 {
            return;
        }
        for request in from..to {
            if self.rng.u32(0..100) < percent {
                let at = now + Time(self.rng.u64(0..=within.0));
                self.add(at, Act::Cancel(RequestId(request)));
            }
        }
    }

    fn add(&mut self, at: Time, act: Act) {
        self.added += 1;
        self.acts.insert((at, self.added), act);
    }
}
