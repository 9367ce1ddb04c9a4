//! Keeps when each request arrived and ended, and asks for the later stages of apps.

use super::Simulated;
use crate::machine::Ended;
use crate::observe::Observe;
use crate::scenario::Setup;
use std::collections::VecDeque;
use sublet_report::Outcome;
use sublet_sched::{Command, RejectReason, Request};
use sublet_units::{BatchKey, Bytes, ModelId, RequestId, Time};

/// A request that was never answered.
const NEVER: Time = Time::MAX;

#[derive(Debug)]
pub(super) struct Recorder {
    slos: Vec<Time>,
    apps: Vec<(Time, Vec<Vec<u32>>)>,
    segments: Vec<Vec<Bytes>>,
    /// By request.
    asked: Vec<Asked>,
    /// Apps under way, by number.
    chains: Vec<Chain>,
    /// Requests to be told to the scheduler.
    pending: VecDeque<RequestId>,
    loads: u64,
    copied: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Time,
    model: u32,
    /// Of an app; `u32::MAX` for none.
    chain: u32,
    ended: Time,
    cold: bool,
    /// Why it was not run.
    why: Option<RejectReason>,
}

#[derive(Debug)]
struct Chain {
    app: u32,
    at: Time,
    stage: u32,
    /// Requests of the stage that have not ended.
    open: u32,
    /// When its last stage was answered.
    ended: Time,
    cold: bool,
}

const NO_CHAIN: u32 = u32::MAX;

impl Recorder {
    pub fn new(setup: &Setup) -> Self {
        Recorder {
            slos: setup.slos.clone(),
            apps: setup.apps.clone(),
            segments: setup.models.iter().map(|(spec, _)| spec.segments.clone()).collect(),
            asked: Vec::with_capacity(setup.arrivals.len()),
            chains: Vec::new(),
            pending: VecDeque::new(),
            loads: 0,
            copied: 0,
        }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.asked.len() as u64
    }

    /// Asks for a model, or for an app where there are apps.
    pub fn ask(&mut self, now: Time, what: u32) {
        if self.apps.is_empty() {
            self.request(now, what, NO_CHAIN);
            return;
        }
        let chain = self.chains.len() as u32;
        self.chains.push(Chain {
            app: what,
            at: now,
            stage: 0,
            open: 0,
            ended: NEVER,
            cold: false,
        });
        self.begin_stage(now, chain);
    }

    /// The next request that the scheduler is to be told of.
    pub fn next_request(&mut self) -> Option<Request> {
        let id = self.pending.pop_front()?;
        let asked = &self.asked[id.0 as usize];
        let deadline = match self.chains.get(asked.chain as usize) {
            Some(chain) => chain.at + self.apps[chain.app as usize].0,
            None => asked.at + self.slos[asked.model as usize],
        };
        Some(Request {
            id,
            model: ModelId(asked.model),
            key: BatchKey(0),
            rows: 1,
            deadline: Some(deadline),
            expires: None,
            priority: 0,
        })
    }

    pub fn conclude(self, setup: &Setup, steps: u64) -> Simulated {
        let span = setup.duration - setup.warmup;
        let mut outcome = Outcome { in_time: Some(0), cold: Some(0), ..Outcome::new(span) };
        let mut kinds: std::collections::BTreeMap<String, Outcome> = Default::default();
        let mut models = vec![(0, 0); setup.models.len()];
        let mut latencies = Vec::new();
        for asked in self.asked.iter().filter(|asked| asked.at >= setup.warmup) {
            let slo = self.slos[asked.model as usize];
            let latency = latency(asked.at, asked.ended, setup.answer);
            let (requests, in_time) = &mut models[asked.model as usize];
            *requests += 1;
            *in_time += u64::from(latency <= slo);
            let empty = || Outcome { in_time: Some(0), cold: Some(0), ..Outcome::new(span) };
            let kind = &setup.kinds[asked.model as usize];
            if !kinds.contains_key(kind) {
                kinds.insert(kind.clone(), empty());
            }
            let of_kind = kinds.get_mut(kind).expect("just inserted");
            count(of_kind, latency, slo, asked.cold, asked.why);
            if self.apps.is_empty() {
                latencies.push(latency);
                count(&mut outcome, latency, slo, asked.cold, asked.why);
            }
        }
        for chain in self.chains.iter().filter(|chain| chain.at >= setup.warmup) {
            let latency = latency(chain.at, chain.ended, setup.answer);
            latencies.push(latency);
            count(&mut outcome, latency, self.apps[chain.app as usize].0, chain.cold, None);
        }
        let p98 = match latencies.len() {
            0 => Time::ZERO,
            many => *latencies.select_nth_unstable((many * 98).div_ceil(100) - 1).1,
        };
        let (loads, copied) = (self.loads, Bytes(self.copied));
        Simulated { outcome, p98, models, kinds, steps, loads, copied }
    }

    fn request(&mut self, now: Time, model: u32, chain: u32) {
        self.pending.push_back(RequestId(self.asked.len() as u64));
        self.asked.push(Asked { at: now, model, chain, ended: NEVER, cold: false, why: None });
    }

    fn begin_stage(&mut self, now: Time, chain_at: u32) {
        let chain = &mut self.chains[chain_at as usize];
        let stages = &self.apps[chain.app as usize].1;
        let Some(models) = stages.get(chain.stage as usize).cloned() else {
            chain.ended = now;
            return;
        };
        chain.open = models.len() as u32;
        for model in models {
            self.request(now, model, chain_at);
        }
    }

    fn answer(&mut self, now: Time, id: RequestId, cold: bool) {
        let asked = &mut self.asked[id.0 as usize];
        (asked.ended, asked.cold) = (now, cold);
        let chain_at = asked.chain;
        let Some(chain) = self.chains.get_mut(chain_at as usize) else { return };
        chain.cold |= cold;
        chain.open -= 1;
        if chain.open == 0 {
            chain.stage += 1;
            self.begin_stage(now, chain_at);
        }
    }
}

impl Observe for Recorder {
    const WATCHES: bool = false;

    fn commanded(&mut self, _: Time, command: &Command) {
        match command {
            Command::Reject { request, reason } => {
                self.asked[request.0 as usize].why = Some(*reason);
            }
            Command::Load { model, segments, .. } => {
                self.loads += 1;
                let sizes = &self.segments[model.0 as usize];
                let copied = &sizes[segments.start as usize..segments.end as usize];
                self.copied += copied.iter().map(|bytes| bytes.0).sum::<u64>();
            }
            _ => {}
        }
    }

    fn ended(&mut self, now: Time, ended: &Ended) {
        if ended.ok {
            for &id in &ended.requests {
                self.answer(now, id, ended.cold);
            }
        }
    }

    fn arrival(&mut self) -> Option<Request> {
        self.next_request()
    }
}

fn latency(at: Time, ended: Time, answer: Time) -> Time {
    if ended == NEVER { NEVER } else { ended - at + answer }
}

fn count(outcome: &mut Outcome, latency: Time, slo: Time, cold: bool, why: Option<RejectReason>) {
    outcome.requests += 1;
    if latency == NEVER {
        let why = match why {
            Some(RejectReason::NoModel) => "no such model",
            Some(RejectReason::NeverFits) => "never fits",
            Some(RejectReason::QueueFull) => "queue full",
            Some(RejectReason::Expired) => "expired",
            Some(RejectReason::Cancelled) => "cancelled",
            Some(RejectReason::LoadFailed) => "load failed",
            Some(RejectReason::NoDevice) => "no device",
            Some(RejectReason::TooLate) => "too late",
            None => "failed",
        };
        *outcome.errors.entry(why.to_owned()).or_default() += 1;
        return;
    }
    outcome.answered += 1;
    outcome.latency.record(latency);
    let in_time = outcome.in_time.get_or_insert(0);
    *in_time += u64::from(latency <= slo);
    let colds = outcome.cold.get_or_insert(0);
    *colds += u64::from(cold);
}
