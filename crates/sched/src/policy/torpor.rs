//! The parts of `torpor`: required request counts, swap-in beside the least loaded neighbour, protected heavy models.

use super::{
    BatchPolicy, Candidate, Eviction, LoadOption, Neighbours, Order, Outcome, Placement, Urgency,
    Work,
};
use crate::command::Source;
use crate::event::{Batching, Request};
use sublet_units::{Bytes, ModelId, Time};

/// The share of a function's requests that must be answered in time, in percent.
const TARGET: i64 = 98;
/// How often functions are divided into high and low, and how often α is adapted.
const DIVIDE_EVERY: Time = Time::from_secs(2);
const ADAPT_EVERY: Time = Time::from_secs(40);
/// α in 1/1024.
const ALPHA_ONE: u64 = 1024;

/// Functions that can still become compliant at little cost first (Torpor §5.2).
///
/// A function with n requests so far, m of them in time, needs (p·n − m)/(1 − p) more in time to be compliant; that
/// times its mean latency is its margin M. Every 2 s functions are sorted by M ascending; those whose accumulated
/// positive M stays within α·Σ max(M, 0) are high, the rest low. High goes by M descending, then low by M ascending.
/// Every 40 s α adapts to the compliant share.
pub struct RequiredRequests {
    functions: Vec<Function>,
    alpha: u64,
    divide_at: Time,
    adapt_at: Time,
    /// Compliant functions in 1/1024 when α was adapted last.
    compliant: Option<u64>,
}

#[derive(Clone, Copy, Default)]
struct Function {
    requests: i64,
    in_time: i64,
    runs: u64,
    latency: Time,
    rank: Option<Urgency>,
}

impl Default for RequiredRequests {
    fn default() -> Self {
        RequiredRequests {
            functions: Vec::new(),
            alpha: ALPHA_ONE / 2,
            divide_at: DIVIDE_EVERY,
            adapt_at: ADAPT_EVERY,
            compliant: None,
        }
    }
}

impl Function {
    /// M in microseconds.
    fn margin(&self) -> i64 {
        let mean = self.latency.0.checked_div(self.runs).unwrap_or(0);
        let missing = (TARGET * self.requests - 100 * self.in_time) / (100 - TARGET);
        missing.saturating_mul((mean / 1000) as i64)
    }

    fn is_compliant(&self) -> bool {
        100 * self.in_time >= TARGET * self.requests
    }
}

impl RequiredRequests {
    fn divide(&mut self) {
        let mut order: Vec<(i64, usize)> =
            self.functions.iter().enumerate().map(|(at, f)| (f.margin(), at)).collect();
        order.sort_unstable();
        let total: i128 = order.iter().map(|&(margin, _)| i128::from(margin.max(0))).sum();
        let threshold = total * i128::from(self.alpha) / i128::from(ALPHA_ONE);
        let mut sum = 0;
        for (margin, at) in order {
            sum += i128::from(margin.max(0));
            // Shifted so that negative margins sort too.
            let shifted = (margin as u64) ^ (1 << 63);
            self.functions[at].rank = Some(match margin <= 0 || sum <= threshold {
                true => Urgency { class: 1, when: Time(u64::MAX - shifted) },
                false => Urgency { class: 2, when: Time(shifted) },
            });
        }
    }

    fn adapt(&mut self) {
        let known = self.functions.iter().filter(|function| function.requests > 0);
        let (mut all, mut compliant) = (0, 0);
        for function in known {
            all += 1;
            compliant += u64::from(function.is_compliant());
        }
        if all == 0 {
            return;
        }
        let share = compliant * 1024 / all;
        let step = 1024 * 4 / 100;
        self.alpha = match self.compliant {
            Some(before) if share >= before + step => (self.alpha * 2).min(ALPHA_ONE),
            Some(before) if share + step <= before => self.alpha / 2,
            _ => (self.alpha + self.alpha.div_ceil(100)).min(ALPHA_ONE),
        };
        self.compliant = Some(share);
    }

    fn function(&mut self, model: ModelId) -> &mut Function {
        let index = model.0 as usize;
        if index >= self.functions.len() {
            self.functions.resize(index + 1, Function::default());
        }
        &mut self.functions[index]
    }
}

impl Order for RequiredRequests {
    fn request(&self, _: &Request, arrived: Time, _: Time) -> Urgency {
        Urgency { class: 1, when: arrived }
    }

    fn model(&self, work: &Work) -> Urgency {
        let function = self.functions.get(work.model.0 as usize);
        // A function not seen before has no margin yet: high, behind those that need something.
        let new = Urgency { class: 1, when: Time(u64::MAX - (1 << 63)) };
        function.and_then(|function| function.rank).unwrap_or(new)
    }

    fn presses_at(&self, _: &Work, _: Urgency) -> Time {
        Time::ZERO
    }

    fn ended(&mut self, outcome: &Outcome) {
        let function = self.function(outcome.model);
        function.requests += 1;
        function.in_time += i64::from(outcome.in_time());
        if let Some(took) = outcome.took {
            function.runs += 1;
            function.latency = function.latency.saturating_add(took);
        }
    }

    fn review_at(&self) -> Time {
        self.divide_at.min(self.adapt_at)
    }

    fn review(&mut self, now: Time) {
        if self.adapt_at <= now {
            self.adapt();
            self.adapt_at = now.saturating_add(ADAPT_EVERY);
        }
        if self.divide_at <= now {
            self.divide();
            self.divide_at = now.saturating_add(DIVIDE_EVERY);
        }
    }
}

/// From a device that has the model, else beside the least loaded neighbour; only where it can run at once.
pub struct LeastLoadedSwitch;

/// Loads of a neighbour up to these sizes are light and medium: they hold up the switch for about as long as runs of
/// vision models take.
const LIGHT: Bytes = Bytes::from_mib(100);
const MEDIUM: Bytes = Bytes::from_mib(300);

fn load_of(neighbours: &Neighbours) -> u32 {
    match neighbours {
        Neighbours { loading, .. } if *loading > MEDIUM => 5,
        Neighbours { loading, .. } if *loading > LIGHT => 4,
        Neighbours { loading, .. } if *loading > Bytes::ZERO => 3,
        Neighbours { copying: true, .. } => 2,
        Neighbours { running: true, .. } => 1,
        _ => 0,
    }
}

impl Placement for LeastLoadedSwitch {
    fn choose(&self, _: ModelId, options: &[LoadOption]) -> Option<usize> {
        let rank = |option: &LoadOption| match option.source {
            Source::Peer(_) => 0,
            Source::Host => 1 + load_of(&option.neighbours),
        };
        (0..options.len()).filter(|&at| options[at].idle).min_by_key(|&at| rank(&options[at]))
    }

    /// It is asked only when the devices that have the model are busy.
    fn spreads(&self, _: Time, _: Time) -> bool {
        true
    }

    fn overlaps(&self, _: Time, _: Option<Time>) -> bool {
        true
    }
}

/// The least recently used first, but the only copy of a heavy model last. Heavy: its copy takes longer than its run, so
/// that a swap-in cannot hide behind it.
pub struct ProtectHeavy;

impl Eviction for ProtectHeavy {
    fn worth(&self, candidate: &Candidate) -> u64 {
        let heavy = candidate.run.is_some_and(|run| candidate.reload > run);
        let protected = u64::from(heavy && candidate.copies <= 1);
        protected << 63 | candidate.last_used.0 >> 1
    }

    fn partial(&self) -> bool {
        false
    }
}

/// No batches.
pub struct OneByOne;

impl BatchPolicy for OneByOne {
    fn start_at(&self, _: &Batching, _: u64, arrived: Time, _: Time) -> Time {
        arrived
    }

    fn rows_max(&self, _: u32, _: Time, _: &dyn Fn(u32) -> Option<Time>) -> u32 {
        1
    }
}
