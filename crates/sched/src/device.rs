//! What the scheduler knows of one device.

use crate::command::Source;
use crate::event::DeviceSpec;
use crate::model::{Candidacy, Model};
use crate::policy::{LanePlan, Urgency};
use crate::predict::{LinkRate, WHOLE};
use crate::queue::Entry;
use crate::rank::Ranking;
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
    /// Models with a place here, in order.
    pub tenants: BTreeSet<ModelId>,
    /// Models with waiting requests that could start here now.
    pub startable: Ranking,
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
            tenants: BTreeSet::new(),
            startable: Ranking::default(),
            open: false,
            freed: true,
            idle_pages: 0,
            queued_pages: 0,
            pinned_pages: 0,
            work: Time::ZERO,
            claim: None,
            spec,
        }
    }

    pub fn has_idle_lane(&self) -> bool {
        (self.busy as usize) < self.lanes.len() && self.redivided.is_none()
    }

    /// An idle lane that may run the model: one that is meant for it, or any if none is.
    pub fn idle_lane_for(&self, model: ModelId) -> Option<usize> {
        let is_named = self.lanes.iter().any(|lane| lane.names(model));
        let takes = |lane: &Lane| lane.running.is_none() && (!is_named || lane.names(model));
        self.lanes.iter().position(takes)
    }

    /// Pages that a model's segments from `first` on need, when those before are there.
    pub fn pages_of(&self, segments: &[Bytes], first: usize) -> u32 {
        let (before, rest) = segments.split_at(first);
        let start = before.iter().copied().sum();
        self.ledger.pages_between(start, start + rest.iter().copied().sum())
    }

    /// Whether it could hold a model if everything that may be evicted were.
    pub fn could_hold(&self, id: DeviceId, model: &Model) -> bool {
        let own = model.places.get(id).map_or(0, |place| place.pinned_pages);
        let pinned = self.pinned_pages - own;
        self.pages_of(&model.spec.segments, 0) <= self.ledger.pages() - pinned
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
    pub fn next_startable(&self, is_fresh: impl Fn(ModelId) -> bool) -> Option<ModelId> {
        if !self.has_idle_lane() {
            return None;
        }
        let divided = self.lanes.iter().any(|lane| !lane.models.is_empty());
        if self.claim.is_none() && !divided {
            return self.startable.first().map(|(_, model)| model);
        }
        let held = |urgency: Urgency, model: ModelId| {
            self.claim.as_ref().is_some_and(|claim| {
                claim.held.contains(&model) && claim.urgency < urgency && !is_fresh(model)
            })
        };
        let may_start = |&(urgency, model): &(Urgency, ModelId)| {
            !held(urgency, model) && self.idle_lane_for(model).is_some()
        };
        self.startable.iter().find(may_start).map(|(_, model)| model)
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

    /// Bytes that are still to come.
    pub fn outstanding(&self) -> Bytes {
        self.loads.iter().map(|loading| loading.current + loading.rest).sum()
    }
}
