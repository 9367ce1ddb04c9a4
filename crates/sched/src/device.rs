//! What the scheduler knows of one device.

use crate::command::Source;
use crate::event::DeviceSpec;
use crate::model::{Candidacy, Model, Place};
use crate::policy::{LanePlan, Urgency};
use crate::predict::{LinkRate, WHOLE};
use crate::queue::Entry;
use crate::rank::Ranking;
use crate::spread::Appraisal;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use sublet_pool::Ledger;
use sublet_units::{Bytes, DeviceId, LoadId, ModelId, RunId, Time};

#[derive(Debug)]
pub(crate) struct Device {
    pub spec: DeviceSpec,
    pub ledger: Ledger,
    pub lanes: Vec<Lane>,
    /// Lanes with a run in flight.
    pub busy: u32,
    /// How it will be divided once its runs have ended; until then none starts.
    pub redivided: Option<Vec<LanePlan>>,
    /// From the host.
    pub host: Channel,
    /// From other devices.
    pub peer: Channel,
    /// How much of the shorter of a copy and a run is not hidden behind the other, in 1/1024: learnt from runs that
    /// started before their weights were there.
    pub unhidden: u64,
    /// Models with a place here, in order.
    pub tenants: Tenants,
    /// Models with waiting requests that could start here now.
    pub startable: Ranking,
    /// The same, by the age of their oldest request, for policies that mind it.
    pub by_age: Ranking,
    /// Whether it stands in the list of devices where a run might start.
    pub open: bool,
    /// Whether memory or a link became free since loads were planned last.
    pub freed: bool,
    /// Pages of models that nobody waits for and that may be taken.
    pub idle_pages: u32,
    /// Pages of models with waiting requests that may be taken.
    pub queued_pages: u32,
    /// Pages of models that stay.
    pub pinned_pages: u32,
    /// Predicted time of the runs that wait for this device, over all lanes.
    pub work: Time,
    pub claim: Option<Claim>,
    pub appraisal: Appraisal,
}

/// A stream of runs, with a share of the device's compute.
#[derive(Debug)]
pub(crate) struct Lane {
    pub running: Option<Running>,
    /// Percent of the device's compute.
    pub share: u32,
    /// The models that run here and on no lane of the device that does not name them too.
    pub models: Vec<ModelId>,
    /// The requests of the run in flight.
    pub batch: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub run: RunId,
    pub model: ModelId,
    pub rows: u32,
    pub started: Time,
    pub expected: Time,
    /// What was predicted of the time until its weights were there, and of its run alone.
    pub arrival: Time,
    pub alone: Time,
    /// Weights were still arriving: its duration says nothing about later runs.
    pub stalls: bool,
}

/// A way for weights into a device, used by one load after the other.
#[derive(Debug)]
pub(crate) struct Channel {
    /// In the order in which they are carried out.
    pub loads: VecDeque<Loading>,
    /// When the segment on its way began.
    pub since: Time,
    pub rate: LinkRate,
}

#[derive(Debug)]
pub(crate) struct Loading {
    pub load: LoadId,
    pub model: ModelId,
    pub segments: Range<u32>,
    pub source: Source,
    /// Bytes of the segment on its way.
    pub current: Bytes,
    /// Bytes of the segments after that.
    pub rest: Bytes,
}

/// How long before a channel has nothing to do it is given the next load.
const QUEUED_AHEAD: Time = Time::from_millis(1);

/// A model that cannot find room waits for busy ones to end: they start no further runs here.
#[derive(Debug, PartialEq)]
pub(crate) struct Claim {
    pub model: ModelId,
    pub urgency: Urgency,
    pub held: BTreeSet<ModelId>,
}

impl Device {
    pub fn new(spec: DeviceSpec, lanes_max: u32, now: Time) -> Self {
        assert!(spec.lanes > 0, "a device has a lane");
        let peer_rate = spec.peers.iter().map(|peer| peer.rate).max().unwrap_or(1);
        Device {
            ledger: Ledger::new(spec.page_bytes, spec.pages),
            lanes: (0..spec.lanes.min(lanes_max)).map(|_| Lane::new(WHOLE, Vec::new())).collect(),
            busy: 0,
            redivided: None,
            host: Channel::new(spec.link_rate, now),
            peer: Channel::new(peer_rate, now),
            unhidden: 0,
            tenants: Tenants::default(),
            startable: Ranking::default(),
            by_age: Ranking::default(),
            open: false,
            freed: true,
            idle_pages: 0,
            queued_pages: 0,
            pinned_pages: 0,
            work: Time::ZERO,
            claim: None,
            appraisal: Appraisal::default(),
            spec,
        }
    }

    pub fn has_idle_lane(&self) -> bool {
        (self.busy as usize) < self.lanes.len() && self.redivided.is_none()
    }

    /// An idle lane that may run the model: one that is meant for it; if none is, one that is meant for nobody; any, where
    /// all are meant for others.
    pub fn idle_lane_for(&self, model: ModelId) -> Option<usize> {
        let is_named = self.lanes.iter().any(|lane| lane.names(model));
        let is_open = !is_named && self.lanes.iter().any(|lane| lane.models.is_empty());
        let takes = |lane: &Lane| {
            lane.running.is_none()
                && (lane.names(model) || !is_named && (!is_open || lane.models.is_empty()))
        };
        self.lanes.iter().position(takes)
    }

    /// Pages that a model's segments from `first` on need, when those before are there.
    pub fn pages_of(&self, model: &Model, first: u32) -> u32 {
        self.ledger.pages_between(model.bytes_before(first), model.bytes)
    }

    /// Pages that must be evicted before a model can be loaded. `place`: what it has here.
    pub fn shortage(&self, model: &Model, place: Option<&Place>) -> u32 {
        let resident = place.map_or(0, |place| place.resident);
        self.pages_of(model, resident).saturating_sub(self.ledger.free())
    }

    /// Learns from a run that started before its weights were there.
    pub fn observe_overlap(&mut self, running: Running, took: Time) {
        let Running { arrival, alone, .. } = running;
        let shorter = arrival.min(alone).0;
        if shorter > 0 {
            let over = took.saturating_sub(arrival.max(alone)).0.min(shorter);
            let unhidden = (u128::from(over) * 1024 / u128::from(shorter)) as u64;
            self.unhidden = (self.unhidden * 3 + unhidden) / 4;
        }
    }

    /// How much of a run may hide behind a copy; none where little of it does.
    pub fn hides(&self, run: Time) -> Time {
        match self.unhidden {
            0..512 => Time((u128::from(run.0) * u128::from(1024 - self.unhidden) / 1024) as u64),
            _ => Time::ZERO,
        }
    }

    /// Whether it could hold a model if everything that may be evicted were.
    pub fn could_hold(&self, id: DeviceId, model: &Model) -> bool {
        let own = model.places.get(id).map_or(0, |place| place.pinned_pages);
        let pinned = self.pinned_pages - own;
        self.pages_of(model, 0) <= self.ledger.pages() - pinned
    }

    /// From `now` until a lane is predicted to be free.
    pub fn lane_wait(&self, now: Time) -> Time {
        let wait = |lane: &Lane| {
            lane.running.as_ref().map_or(Time::ZERO, |running| {
                running.started.saturating_add(running.expected).saturating_sub(now)
            })
        };
        self.lanes.iter().map(wait).min().unwrap_or(Time::ZERO)
    }

    /// From `now` until what waits here is predicted to have run.
    pub fn backlog(&self, now: Time) -> Time {
        self.lane_wait(now).saturating_add(Time(self.work.0 / self.lanes.len() as u64))
    }

    /// Changes what is known of a model whose pages may be taken.
    pub fn recount(&mut self, before: Option<Candidacy>, after: Option<Candidacy>) {
        if let Some(old) = before {
            *self.takeable(old) -= old.pages;
        }
        if let Some(new) = after {
            *self.takeable(new) += new.pages;
        }
    }

    fn takeable(&mut self, candidacy: Candidacy) -> &mut u32 {
        match candidacy.queued {
            None => &mut self.idle_pages,
            Some(_) => &mut self.queued_pages,
        }
    }

    pub fn channel(&self, source: Source) -> &Channel {
        match source {
            Source::Host => &self.host,
            Source::Peer(_) => &self.peer,
        }
    }

    pub fn channel_mut(&mut self, source: Source) -> &mut Channel {
        match source {
            Source::Host => &mut self.host,
            Source::Peer(_) => &mut self.peer,
        }
    }

    /// The load on its way of this id.
    pub fn find_load(&self, load: LoadId) -> Option<(Source, usize)> {
        for source in [Source::Host, Source::Peer(Default::default())] {
            let loads = &self.channel(source).loads;
            if let Some(at) = loads.iter().position(|loading| loading.load == load) {
                return Some((loads[at].source, at));
            }
        }
        None
    }

    pub fn loads(&self) -> impl Iterator<Item = &Loading> {
        self.host.loads.iter().chain(&self.peer.loads)
    }

    /// From `now` until the load of a model is predicted to have ended.
    pub fn arrival(&self, now: Time, model: ModelId) -> Time {
        let has = |channel: &&Channel| channel.loads.iter().any(|loading| loading.model == model);
        let channel = [&self.host, &self.peer].into_iter().find(has);
        channel.map_or(Time::ZERO, |channel| channel.wait(now, Some(model)))
    }

    /// The most urgent model that may start a run here.
    ///
    /// Whatever the order, all that waits would be in time: then the oldest request goes first.
    pub fn next_startable(&self, now: Time, is_fresh: impl Fn(ModelId) -> bool) -> Option<ModelId> {
        if !self.has_idle_lane() {
            return None;
        }
        let divided = self.lanes.iter().any(|lane| !lane.models.is_empty());
        // While the link is busy, room is of no use yet.
        let claim = self.claim.as_ref().filter(|_| self.host.loads.is_empty());
        if claim.is_none() && !divided {
            let (urgency, model) = self.startable.first()?;
            let all_done_at = now.saturating_add(self.work);
            return match self.by_age.first() {
                Some((age, oldest))
                    if (1..=urgency.class).contains(&age.class)
                        && urgency.class > 0
                        && all_done_at <= urgency.when =>
                {
                    Some(oldest)
                }
                _ => Some(model),
            };
        }
        let held = |urgency: Urgency, model: ModelId| {
            claim.is_some_and(|claim| {
                claim.held.contains(&model) && claim.urgency < urgency && !is_fresh(model)
            })
        };
        let may_start = |&(urgency, model): &(Urgency, ModelId)| {
            !held(urgency, model) && self.idle_lane_for(model).is_some()
        };
        self.startable.iter().find(may_start).map(|(_, model)| model)
    }
}

/// The models that have a place on a device, in order.
#[derive(Debug, Default)]
pub(crate) struct Tenants(Vec<ModelId>);

impl Tenants {
    pub fn insert(&mut self, model: ModelId) {
        if let Err(at) = self.0.binary_search(&model) {
            self.0.insert(at, model);
        }
    }

    pub fn remove(&mut self, model: ModelId) {
        if let Ok(at) = self.0.binary_search(&model) {
            self.0.remove(at);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = ModelId> {
        self.0.iter().copied()
    }
}

impl Lane {
    /// `models`: whom it is meant for; empty: for all that no other lane is meant for.
    pub fn new(share: u32, mut models: Vec<ModelId>) -> Self {
        models.sort_unstable();
        Lane { running: None, share, models, batch: Vec::new() }
    }

    fn names(&self, model: ModelId) -> bool {
        self.models.binary_search(&model).is_ok()
    }
}

impl Channel {
    fn new(rate: u64, now: Time) -> Self {
        Channel { loads: VecDeque::new(), since: now, rate: LinkRate::new(rate) }
    }

    /// From `now` until it has carried out its loads, up to and including that of `model` if one is named.
    pub fn wait(&self, now: Time, model: Option<ModelId>) -> Time {
        let mut wait = Time::ZERO;
        for (at, loading) in self.loads.iter().enumerate() {
            let mut current = self.rate.time(loading.current);
            if at == 0 {
                current = current.saturating_sub(now.saturating_sub(self.since));
            }
            wait = wait.saturating_add(current).saturating_add(self.rate.time(loading.rest));
            if Some(loading.model) == model {
                break;
            }
        }
        wait
    }

    /// Whether it takes one more load: it has nothing to do, or soon will not. A load that waits long would keep its
    /// pages idle, and might have gone elsewhere.
    pub fn takes(&self, now: Time, loads_max: usize) -> bool {
        self.loads.is_empty()
            || self.loads.len() < loads_max && self.wait(now, None) <= QUEUED_AHEAD
    }

    /// Bytes that are still to come.
    pub fn outstanding(&self) -> Bytes {
        self.loads.iter().map(|loading| loading.current + loading.rest).sum()
    }
}
