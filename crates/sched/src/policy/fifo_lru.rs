//! The parts of `fifo-lru`: order of arrival, whole models, least recently used out.

use super::{BatchPolicy, Candidate, Eviction, LoadOption, Order, Placement, Urgency, Work};
use crate::event::{Batching, Request};
use std::cmp::Reverse;
use sublet_units::{ModelId, Time};

pub struct ArrivalOrder;

impl Order for ArrivalOrder {
    fn request(&self, _: &Request, arrived: Time, _: Time) -> Urgency {
        Urgency { class: 1, when: arrived }
    }

    fn model(&self, work: &Work) -> Urgency {
        work.first
    }
}

/// Where most pages are free; one copy of each model; no run before the last segment.
pub struct MostFree;

impl Placement for MostFree {
    fn choose(&self, _: ModelId, options: &[LoadOption]) -> Option<usize> {
        (0..options.len()).min_by_key(|&at| Reverse(options[at].free_pages))
    }

    fn spreads(&self, _: Time, _: Time) -> bool {
        false
    }

    fn overlaps(&self, _: Time, _: Option<Time>) -> bool {
        false
    }
}

pub struct LeastRecentlyUsed;

impl Eviction for LeastRecentlyUsed {
    fn worth(&self, candidate: &Candidate) -> u64 {
        candidate.last_used.0
    }

    fn partial(&self) -> bool {
        false
    }
}

/// Whatever waits when a lane becomes free.
pub struct Greedy;

impl BatchPolicy for Greedy {
    fn start_at(&self, _: &Batching, _: u64, arrived: Time, _: Time) -> Time {
        arrived
    }
}
