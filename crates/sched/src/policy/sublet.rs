//! The parts of `sublet`: least slack first, earliest finish, least worth per byte out.

use super::{BatchPolicy, Candidate, Eviction, LoadOption, Order, Placement, Urgency};
use crate::event::{Batching, Request};
use sublet_units::Time;

/// By priority, then by the latest time at which work must start to meet its deadline.
pub struct LeastSlack {
    /// The deadline, from arrival, of requests that state none: nobody waits for ever.
    pub slo: Time,
}

impl Order for LeastSlack {
    fn request(&self, request: &Request, arrived: Time) -> Urgency {
        let class = if request.priority == 0 { u32::MAX } else { request.priority };
        let when = request.deadline.unwrap_or(arrived.saturating_add(self.slo));
        Urgency { class, when }
    }

    fn model(&self, first: Urgency, service: Time) -> Urgency {
        Urgency { when: first.when.saturating_sub(service), ..first }
    }
}

/// Where the first run is predicted to end earliest, counting what must be brought back later as lost time.
pub struct EarliestFinish;

impl Placement for EarliestFinish {
    fn choose(&self, options: &[LoadOption]) -> usize {
        (0..options.len())
            .min_by_key(|&at| options[at].finish.saturating_add(options[at].regret))
            .unwrap_or(0)
    }

    fn spreads(&self, stay: Time, copy: Time) -> bool {
        copy < stay
    }

    fn overlaps(&self, remaining: Time, run: Option<Time>) -> bool {
        run.is_some_and(|run| remaining <= run)
    }
}

/// Reload cost times recent use, for each byte that becomes free.
pub struct LeastWorth;

impl Eviction for LeastWorth {
    fn worth(&self, candidate: &Candidate) -> u64 {
        let lost = u128::from(candidate.reload.0) * u128::from(candidate.uses);
        u64::try_from(lost * 1024 / u128::from(candidate.resident.0.max(1))).unwrap_or(u64::MAX)
    }

    fn partial(&self) -> bool {
        true
    }
}

/// Waits for more rows until the batch is full or its first request has waited long enough.
pub struct Delayed;

impl BatchPolicy for Delayed {
    fn start_at(&self, batching: &Batching, rows: u64, arrived: Time) -> Time {
        if rows >= u64::from(batching.rows_max) {
            arrived
        } else {
            arrived.saturating_add(batching.delay_max)
        }
    }
}
