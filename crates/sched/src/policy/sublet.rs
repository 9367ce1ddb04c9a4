//! The parts of `sublet`: earliest deadline first, earliest finish, batches within the slack, least worth per byte out.

use super::attainment::Attainment;
use super::{
    BatchPolicy, Candidate, Eviction, LoadOption, Order, Outcome, Placement, Urgency, Work,
};
use crate::event::{Batching, Request};
use sublet_units::{ModelId, Time};

/// By priority, then by deadline. What cannot meet it any more goes after all that can, where its model can afford it, and a
/// tenant that has had more than its share after those that have not.
#[derive(Default)]
pub struct EarliestDeadline {
    /// Requests that may be put off, in shares of one.
    allowance: u32,
    attainment: Attainment,
}

/// One in so many requests may be put off, and so many at once after good times. Fewer than one in fifty, so that what
/// 98 % of the requests wait at most does not depend on them.
const PUT_OFF_ONE_IN: u32 = 64;
const PUT_OFF_MAX: u32 = 100;

/// The class of requests that state no priority; classes of stated ones are kept below.
const CLASS_DEFAULT: u32 = 1 << 24;
const OVER_SHARE: u32 = 1 << 26;
const LATE: u32 = 1 << 28;

impl Order for EarliestDeadline {
    fn request(&self, request: &Request, _: Time, due: Time) -> Urgency {
        let stated = request.priority.min(CLASS_DEFAULT - 1);
        Urgency { class: if stated == 0 { CLASS_DEFAULT } else { stated }, when: due }
    }

    fn model(&self, work: &Work) -> Urgency {
        let late = if work.late { LATE } else { 0 };
        let over_share = if work.over_share { OVER_SHARE } else { 0 };
        Urgency {
            class: work.first.class + late + over_share,
            // Not less what it takes: by their deadlines alone, the most late of all is the least late that it can be
            // (Jackson's rule), and what is missing does not displace what has waited longer.
            when: work.first.when,
        }
    }

    /// While there is still time to find room.
    fn presses_at(&self, work: &Work, urgency: Urgency) -> Time {
        urgency.when.saturating_sub(work.service)
    }

    /// A few wait until there is time for them: in a rush, each that does brings all behind it forward.
    fn puts_off(&mut self) -> bool {
        let may = self.allowance >= PUT_OFF_ONE_IN;
        if may {
            self.allowance -= PUT_OFF_ONE_IN;
        }
        may
    }

    fn ended(&mut self, outcome: &Outcome) {
        self.attainment.note(outcome);
        self.allowance = (self.allowance + 1).min(PUT_OFF_MAX * PUT_OFF_ONE_IN);
    }

    fn gives_up(&self) -> bool {
        true
    }

    fn turned(&mut self) -> bool {
        self.attainment.turned()
    }

    /// Late answers are for models that can afford them, or for all where there must be choices.
    fn gives_up_on(&self, model: ModelId) -> bool {
        self.attainment.is_met(model) || self.attainment.is_in_distress()
    }

    fn defers(&self) -> bool {
        true
    }

    /// What is late waits for a quarter more than its deadline allowed: so most do not wait much longer than the rest.
    fn patience(&self, span: Time) -> Time {
        Time(span.0.saturating_mul(5) / 4)
    }
}

/// Where the first run is predicted to end earliest, counting what must be brought back later as lost time.
pub struct EarliestFinish;

impl Placement for EarliestFinish {
    fn choose(&self, _: ModelId, options: &[LoadOption]) -> Option<usize> {
        (0..options.len()).min_by_key(|&at| options[at].finish.saturating_add(options[at].regret))
    }

    fn looks_ahead(&self) -> bool {
        true
    }

    fn spreads(&self, stay: Time, copy: Time) -> bool {
        copy < stay
    }

    fn overlaps(&self, remaining: Time, run: Option<Time>) -> bool {
        // A little early, since both are predictions.
        run.is_some_and(|run| run > Time::ZERO && remaining <= Time(run.0 + run.0 / 4))
    }
}

/// How many times less a further copy is worth than the only one.
const FURTHER: u64 = 4;

/// A request, where requests are counted in parts.
const REQUEST: u64 = 1024;

/// Requests are counted that are expected within this.
const HORIZON: Time = Time::from_secs(60);

/// Requests that are expected soon, in 1/[`REQUEST`].
fn uses(candidate: &Candidate) -> u64 {
    HORIZON.0 * REQUEST / candidate.next_use.0.max(1)
}

/// What a copy costs: what a run hides of it costs the link only.
fn cost(candidate: &Candidate) -> Time {
    let reload = candidate.reload;
    if candidate.rush {
        return reload;
    }
    let hidden = candidate.run.unwrap_or(Time::ZERO).min(reload);
    reload.saturating_sub(hidden).saturating_add(Time(reload.0 / 4))
}

/// Reload cost times expected use, for each byte that becomes free.
pub struct LeastWorth;

impl Eviction for LeastWorth {
    fn worth(&self, candidate: &Candidate) -> u64 {
        // Per KiB, so that what is lost fits one word nearly always.
        let kib = (candidate.resident.0 >> 10).max(1);
        let cost = cost(candidate).0;
        let uses = uses(candidate);
        let worth = match cost.checked_mul(uses) {
            Some(lost) => lost / kib,
            None => (cost / kib).saturating_mul(uses),
        };
        // One of several copies only shortens queues.
        let worth = match candidate.copies {
            0 | 1 => worth,
            copies => worth / (FURTHER * u64::from(copies)),
        };
        // Or else copies of like worth would displace each other again and again.
        if candidate.is_there { worth } else { worth / 2 }
    }

    /// Once it is back it is there: however often it is used, one copy is all that taking it away costs.
    fn loss(&self, candidate: &Candidate) -> Time {
        let used = uses(candidate).min(REQUEST);
        let loss = (u128::from(cost(candidate).0) * u128::from(used) / u128::from(REQUEST)) as u64;
        Time(if candidate.copies > 1 { loss / FURTHER } else { loss })
    }

    fn partial(&self) -> bool {
        true
    }
}

/// Waits for more rows until the batch is full, its first request has waited long enough, or its deadline would be missed;
/// and takes no more rows than the deadline of the first allows.
pub struct Delayed;

impl BatchPolicy for Delayed {
    fn start_at(&self, batching: &Batching, rows: u64, arrived: Time, latest: Time) -> Time {
        if rows >= u64::from(batching.rows_max) {
            arrived
        } else {
            arrived.saturating_add(batching.delay_max).min(latest.max(arrived))
        }
    }

    fn rows_max(&self, rows_max: u32, left: Time, run: &dyn Fn(u32) -> Option<Time>) -> u32 {
        let is_too_long = |rows: u32| run(rows).is_some_and(|run| run > left);
        let mut rows = rows_max;
        while rows > 1 && is_too_long(rows) {
            rows = rows.next_power_of_two() / 2;
        }
        // A deadline that is missed anyway limits nothing.
        if is_too_long(rows) { rows_max } else { rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sublet_units::Bytes;

    #[test]
    fn one_request_in_so_many_is_put_off() {
        let mut order = EarliestDeadline::default();
        let outcome =
            Outcome { model: ModelId(0), at: Time::ZERO, due: Time::ZERO, took: Some(Time(1)) };
        for _ in 1..PUT_OFF_ONE_IN {
            order.ended(&outcome);
        }
        assert!(!order.puts_off());
        order.ended(&outcome);
        assert!(order.puts_off());
        assert!(!order.puts_off());
    }

    #[test]
    fn evicting_one_of_several_copies_or_what_nobody_uses_loses_little() {
        let only = Candidate {
            resident: Bytes(1 << 30),
            reload: Time(1000),
            last_used: Time::ZERO,
            next_use: Time::from_secs(6),
            copies: 1,
            run: Some(Time(400)),
            is_there: true,
            rush: false,
        };
        assert_eq!(LeastWorth.loss(&only), Time(850));
        assert_eq!(LeastWorth.loss(&Candidate { copies: 2, ..only }), Time(212));
        assert_eq!(
            LeastWorth.loss(&Candidate { next_use: Time::from_secs(120), ..only }),
            Time(425)
        );
    }
}
