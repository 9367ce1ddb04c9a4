//! What the scheduler knows of one model.

use crate::command::RejectReason;
use crate::event::ModelSpec;
use crate::policy::{Order, Urgency};
use crate::predict::{RunTimes, UseRate};
use crate::queue::{Queue, Ticket};
use std::collections::{BTreeMap, BTreeSet};
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
    pub places: BTreeMap<DeviceId, Place>,
    /// Devices where it can never be loaded.
    pub banned: BTreeSet<DeviceId>,
    /// Loads that failed since one succeeded or nothing waited.
    pub failures: u32,
    /// Where a load failed last: other devices are tried first.
    pub avoid: Option<DeviceId>,
    /// Why new requests cannot be served by any device.
    pub hopeless: Option<RejectReason>,
    pub last_used: Time,
    pub uses: UseRate,
    pub run_times: RunTimes,
    pub indexed: Indexed,
}

/// Where the model stands in the scheduler's indexes, to be found again.
#[derive(Debug, Default)]
pub(crate) struct Indexed {
    pub wanting: Option<Urgency>,
    pub spreading: Option<Urgency>,
    pub timer: Option<Time>,
}

/// A model on one device.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Runs in flight.
    pub running: u32,
    pub load: Option<LoadId>,
    /// All segments have arrived.
    pub whole: bool,
    /// A load failed while runs were in flight: when they have ended, segments from this one on are given back.
    pub rollback: Option<u32>,
    /// Loaded, and no run has started since.
    pub fresh: bool,
    /// Until then it is spared while requests wait for it, so that loading it was not in vain.
    pub spared_until: Time,
    /// Its key in the device's index of startable models.
    pub startable: Option<Urgency>,
    /// Its share of the device's predicted work.
    pub work: Time,
}

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
}

impl Place {
    /// Whether its weights are there, or will be.
    pub fn is_usable(&self) -> bool {
        self.rollback.is_none() && (self.whole || self.load.is_some())
    }

    /// Whether a run or load is in flight or must be cleaned up after.
    pub fn is_busy(&self) -> bool {
        self.running > 0 || self.load.is_some() || self.rollback.is_some()
    }
}

impl Model {
    pub fn new(spec: ModelSpec) -> Self {
        let queue = Queue::new(spec.batching);
        Model {
            bytes: spec.segments.iter().copied().sum(),
            spec,
            queue,
            removed: false,
            running: 0,
            places: BTreeMap::new(),
            banned: BTreeSet::new(),
            failures: 0,
            avoid: None,
            hopeless: None,
            last_used: Time::ZERO,
            uses: UseRate::default(),
            run_times: RunTimes::default(),
            indexed: Indexed::default(),
        }
    }

    pub fn segments(&self) -> u32 {
        self.spec.segments.len() as u32
    }

    /// Bytes of the segments from `first` on.
    pub fn bytes_from(&self, first: u32) -> Bytes {
        self.spec.segments[first as usize..].iter().copied().sum()
    }

    pub fn may_start_another(&self) -> bool {
        self.spec.instances.is_none_or(|max| self.running < max)
    }

    /// What is to be done next, if anything waits. `service`: the time that loading and running it will take.
    pub fn front(
        &self,
        now: Time,
        patience: Time,
        order: &dyn Order,
        service: Time,
    ) -> Option<Front> {
        let (oldest, entry) = self.queue.oldest()?;
        let starved_at = entry.arrived.saturating_add(patience);
        if starved_at <= now {
            let urgency = Urgency { class: 0, when: entry.arrived };
            return Some(Front { first: oldest, urgency, pressing_at: starved_at, starved_at });
        }
        let (first, _) = self.queue.most_urgent()?;
        let urgency = order.model(first.urgency, service);
        Some(Front { first, urgency, pressing_at: urgency.when.min(starved_at), starved_at })
    }

    pub fn is_loading(&self) -> bool {
        self.places.values().any(|place| place.load.is_some())
    }
}
