//! What the scheduler knows of one model.

use crate::command::{RejectReason, Source};
use crate::event::ModelSpec;
use crate::policy::{BatchPolicy, Urgency};
use crate::predict::RunTimes;
use crate::queue::{Queue, Ticket};
use crate::rhythm::Rhythm;
use std::collections::BTreeSet;
use sublet_units::{Bytes, DeviceId, LoadId, Time};

#[derive(Debug)]
pub(crate) struct Model {
    pub spec: ModelSpec,
    /// Of all segments.
    pub bytes: Bytes,
    pub queue: Queue,
    pub removed: bool,
    /// Runs in flight over all devices.
    pub running: u32,
    /// Devices that hold pages of it, load it or run it; for a model without weights: all devices.
    pub places: Places,
    /// Devices where it can never be loaded.
    pub banned: BTreeSet<DeviceId>,
    /// The only devices that may load it, by the plan of a partitioning policy; `None`: all.
    pub assigned: Option<Vec<DeviceId>>,
    /// Loads that failed since one succeeded or nothing waited.
    pub failures: u32,
    /// Where a load failed last: other devices are tried first.
    pub avoid: Option<DeviceId>,
    /// Why new requests cannot be served by any device.
    pub hopeless: Option<RejectReason>,
    pub last_used: Time,
    pub rhythm: Rhythm,
    /// Requests since the partitioning policy counted last.
    pub arrived: u64,
    /// Those that have ended since devices were divided last, and how many of them not in time.
    pub ended: u64,
    pub late: u64,
    pub run_times: RunTimes,
    /// What is to be done next; `None` when nothing waits.
    pub front: Option<Front>,
    pub indexed: Indexed,
}

/// Where the model stands in the scheduler's indexes, to be found again.
#[derive(Debug, Default)]
pub(crate) struct Indexed {
    pub wanting: Option<Urgency>,
    /// Where it waits for busy models to end.
    pub claim: Option<DeviceId>,
    /// It might profit from one more copy.
    pub spreads: Option<Urgency>,
    /// The round in which no device could take it. In the next one, only those that changed since need be tried.
    pub tried: Option<u64>,
    /// Until then, while what waits is served before `spread_copy`, no copy would serve it earlier.
    pub spread_until: Time,
    pub spread_copy: Time,
    /// Nobody makes room for a further copy until then.
    pub spread_after: Time,
}

/// A model on one device.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Runs in flight.
    pub running: u32,
    pub load: Option<LoadId>,
    /// Loads in flight that copy it from here.
    pub lends: u32,
    /// Segments that have arrived, and pages of those that have or will.
    pub resident: u32,
    pub pages: u32,
    /// All segments have arrived.
    pub whole: bool,
    /// A load failed while runs were in flight: when they have ended, segments from this one on are given back.
    pub rollback: Option<u32>,
    /// Loaded, and no run has started since.
    pub fresh: bool,
    /// Somebody waited for it when its last load ended.
    pub awaited: bool,
    /// Until then it is spared while requests wait for it, so that loading it was not in vain.
    pub spared_until: Time,
    /// Its key in the device's index of startable models.
    pub startable: Option<Urgency>,
    /// Its key in the device's index of the same models by age.
    pub by_age: Option<Urgency>,
    /// Whether its pages may be taken.
    pub candidacy: Option<Candidacy>,
    /// Its share of the device's predicted work.
    pub work: Time,
    /// Pages that nobody can take, as the device counts them.
    pub pinned_pages: u32,
}

/// A model whose pages may be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidacy {
    pub pages: u32,
    /// Urgency of what waits for the model, if it could run here.
    pub queued: Option<Urgency>,
}

/// The places of a model, in order of devices: few, except for models without weights.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<(DeviceId, Place)>);

/// What is to be done next for a model with waiting requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    pub first: Ticket,
    /// The model's urgency among others.
    pub urgency: Urgency,
    /// From then on it may take memory from models with less urgent waiting requests.
    pub pressing_at: Time,
    /// From then on the oldest request goes before all whose patience has not run out.
    pub starved_at: Time,
    /// From then on the first request cannot be answered in time.
    pub late_at: Time,
    /// None of the requests can be answered in time any more.
    pub late: bool,
}

impl Place {
    /// Whether its weights are there, or will be.
    pub fn is_usable(&self) -> bool {
        self.rollback.is_none() && (self.whole || self.load.is_some())
    }

    /// Whether a run or load is in flight or must be cleaned up after.
    pub fn is_busy(&self) -> bool {
        self.running > 0 || self.load.is_some() || self.lends > 0 || self.rollback.is_some()
    }

    /// Whether another device may copy it from here.
    pub fn can_lend(&self) -> bool {
        self.whole && self.rollback.is_none()
    }
}

impl Places {
    pub fn get(&self, device: DeviceId) -> Option<&Place> {
        self.at(device).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, device: DeviceId) -> Option<&mut Place> {
        self.at(device).ok().map(|at| &mut self.0[at].1)
    }

    pub fn entry(&mut self, device: DeviceId) -> &mut Place {
        let at = self.at(device).unwrap_or_else(|at| {
            self.0.insert(at, (device, Place::default()));
            at
        });
        &mut self.0[at].1
    }

    pub fn remove(&mut self, device: DeviceId) -> Option<Place> {
        self.at(device).ok().map(|at| self.0.remove(at).1)
    }

    pub fn iter(&self) -> impl Iterator<Item = &(DeviceId, Place)> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut (DeviceId, Place)> {
        self.0.iter_mut()
    }

    pub fn devices(&self) -> Vec<DeviceId> {
        self.0.iter().map(|&(device, _)| device).collect()
    }

    pub fn retain(&mut self, keep: impl FnMut(&(DeviceId, Place)) -> bool) {
        self.0.retain(keep);
    }

    pub fn usable(&self) -> impl Iterator<Item = &(DeviceId, Place)> {
        self.0.iter().filter(|(_, place)| place.is_usable())
    }

    fn at(&self, device: DeviceId) -> Result<usize, usize> {
        match self.0.as_slice() {
            [(only, _)] if *only == device => Ok(0),
            places => places.binary_search_by_key(&device, |&(device, _)| device),
        }
    }
}

impl Model {
    pub fn new(spec: ModelSpec) -> Self {
        Model {
            bytes: spec.segments.iter().copied().sum(),
            queue: Queue::new(spec.batching),
            run_times: RunTimes::new(&spec.profile),
            spec,
            removed: false,
            running: 0,
            places: Places::default(),
            banned: BTreeSet::new(),
            assigned: None,
            failures: 0,
            avoid: None,
            hopeless: None,
            last_used: Time::ZERO,
            rhythm: Rhythm::default(),
            arrived: 0,
            ended: 0,
            late: 0,
            front: None,
            indexed: Indexed::default(),
        }
    }

    pub fn segments(&self) -> u32 {
        self.spec.segments.len() as u32
    }

    /// Bytes of the segments before `first`.
    pub fn bytes_before(&self, first: u32) -> Bytes {
        match first {
            0 => Bytes::ZERO,
            _ if first == self.segments() => self.bytes,
            _ => self.spec.segments[..first as usize].iter().copied().sum(),
        }
    }

    /// Bytes of the segments from `first` on.
    pub fn bytes_from(&self, first: u32) -> Bytes {
        self.bytes - self.bytes_before(first)
    }

    pub fn may_start_another(&self, most: u32) -> bool {
        self.running < self.spec.instances.unwrap_or(u32::MAX).min(most)
    }

    pub fn is_loading(&self) -> bool {
        self.places.iter().any(|(_, place)| place.load.is_some())
    }

    /// Never evicted from where it is.
    pub fn is_pinned(&self) -> bool {
        self.spec.pinned && !self.removed
    }

    /// Who leads the next batch, if one may start.
    pub fn leader(&self, now: Time, batching: &dyn BatchPolicy) -> Option<Ticket> {
        let front = self.front?;
        let (first, _) = self.queue.most_urgent()?;
        let run = self.run_times.predict(self.queue.batch_rows(first)).unwrap_or(Time::ZERO);
        self.queue.leader(now, front.first, run, batching).ok()
    }

    /// Whether a device may load it at all.
    pub fn may_go_to(&self, device: DeviceId) -> bool {
        let assigned = self.assigned.as_ref().is_none_or(|devices| devices.contains(&device));
        assigned && (self.banned.is_empty() || !self.banned.contains(&device))
    }

    /// A device other than `device` that has all of it.
    pub fn sources(&self, device: DeviceId) -> impl Iterator<Item = DeviceId> {
        let lenders = self.places.iter().filter(|(_, place)| place.can_lend());
        lenders.map(|&(source, _)| source).filter(move |&source| source != device)
    }
}

impl Source {
    pub(crate) fn peer(self) -> Option<DeviceId> {
        match self {
            Source::Host => None,
            Source::Peer(device) => Some(device),
        }
    }
}
