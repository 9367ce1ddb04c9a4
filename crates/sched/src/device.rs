//! What the scheduler knows of one device.

use crate::event::DeviceSpec;
use crate::policy::Urgency;
use crate::predict::LinkRate;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use sublet_pool::Ledger;
use sublet_units::{Bytes, LoadId, ModelId, RunId, Time};

#[derive(Debug)]
pub(crate) struct Device {
    pub spec: DeviceSpec,
    pub ledger: Ledger,
    pub lanes: Vec<Option<Running>>,
    /// In the order in which they are carried out.
    pub loads: VecDeque<Loading>,
    /// When the segment on its way began.
    pub link_since: Time,
    pub link: LinkRate,
    /// Models with waiting requests that could start here now.
    pub startable: BTreeSet<(Urgency, ModelId)>,
    /// Models whose pages may be taken.
    pub evictable: Evictable,
    /// Predicted time of the runs that wait for this device, over all lanes.
    pub work: Time,
    pub claim: Option<Claim>,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub run: RunId,
    pub model: ModelId,
    pub rows: u32,
    pub started: Time,
    pub expected: Time,
    /// Weights were still arriving: its duration says nothing about later runs.
    pub stalls: bool,
}

#[derive(Debug)]
pub(crate) struct Loading {
    pub load: LoadId,
    pub model: ModelId,
    pub segments: Range<u32>,
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

/// Models whose pages may be taken, and how many pages that is.
#[derive(Debug, Default)]
pub(crate) struct Evictable {
    models: BTreeMap<ModelId, Candidacy>,
    /// Pages of models that nobody waits for.
    pub idle_pages: u32,
    /// Pages of models with waiting requests.
    pub queued_pages: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidacy {
    pub pages: u32,
    /// Urgency of what waits for the model, if it could run here.
    pub queued: Option<Urgency>,
}

impl Device {
    pub fn new(spec: DeviceSpec, now: Time) -> Self {
        assert!(spec.lanes > 0, "a device has a lane");
        Device {
            ledger: Ledger::new(spec.page_bytes, spec.pages),
            lanes: (0..spec.lanes).map(|_| None).collect(),
            loads: VecDeque::new(),
            link_since: now,
            link: LinkRate::new(spec.link_rate),
            startable: BTreeSet::new(),
            evictable: Evictable::default(),
            work: Time::ZERO,
            claim: None,
            spec,
        }
    }

    pub fn idle_lane(&self) -> Option<usize> {
        self.lanes.iter().position(Option::is_none)
    }

    pub fn busy_lanes(&self) -> usize {
        self.lanes.iter().flatten().count()
    }

    /// Pages that a model's segments from `first` on need, when those before are there.
    pub fn pages_of(&self, segments: &[Bytes], first: usize) -> u32 {
        let (before, rest) = segments.split_at(first);
        let start = before.iter().copied().sum();
        self.ledger.pages_between(start, start + rest.iter().copied().sum())
    }

    /// From `now` until a lane is predicted to be free.
    pub fn lane_wait(&self, now: Time) -> Time {
        let wait = |lane: &Option<Running>| {
            lane.as_ref().map_or(Time::ZERO, |running| {
                running.started.saturating_add(running.expected).saturating_sub(now)
            })
        };
        self.lanes.iter().map(wait).min().unwrap_or(Time::ZERO)
    }

    /// From `now` until what waits here is predicted to have run.
    pub fn backlog(&self, now: Time) -> Time {
        self.lane_wait(now).saturating_add(Time(self.work.0 / self.lanes.len() as u64))
    }

    /// From `now` until the link has carried out its loads, up to and including that of `model` if one is named.
    pub fn link_wait(&self, now: Time, model: Option<ModelId>) -> Time {
        let mut wait = Time::ZERO;
        for (at, loading) in self.loads.iter().enumerate() {
            let mut current = self.link.time(loading.current);
            if at == 0 {
                current = current.saturating_sub(now.saturating_sub(self.link_since));
            }
            wait = wait.saturating_add(current).saturating_add(self.link.time(loading.rest));
            if Some(loading.model) == model {
                break;
            }
        }
        wait
    }

    /// The most urgent model that may start a run here.
    pub fn next_startable(&self, is_fresh: impl Fn(ModelId) -> bool) -> Option<ModelId> {
        let held = |urgency: Urgency, model: ModelId| {
            self.claim.as_ref().is_some_and(|claim| {
                claim.held.contains(&model) && claim.urgency < urgency && !is_fresh(model)
            })
        };
        let free = self.startable.iter().find(|&&(urgency, model)| !held(urgency, model));
        free.map(|&(_, model)| model)
    }
}

impl Evictable {
    pub fn set(&mut self, model: ModelId, candidacy: Option<Candidacy>) {
        let before = match candidacy {
            Some(new) => self.models.insert(model, new),
            None => self.models.remove(&model),
        };
        if let Some(old) = before {
            *self.sum(old) -= old.pages;
        }
        if let Some(new) = candidacy {
            *self.sum(new) += new.pages;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (ModelId, Candidacy)> {
        self.models.iter().map(|(&model, &candidacy)| (model, candidacy))
    }

    fn sum(&mut self, candidacy: Candidacy) -> &mut u32 {
        if candidacy.queued.is_none() { &mut self.idle_pages } else { &mut self.queued_pages }
    }
}
