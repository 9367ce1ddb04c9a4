//! Loads and evictions: how segments come and go.

use crate::command::{Command, EvictCause, RejectReason, Source};
use crate::device::Loading;
use crate::scheduler::Scheduler;
use std::ops::Range;
use sublet_units::{Bytes, DeviceId, LoadId, ModelId, Time};

impl Scheduler {
    /// Commands the load of all that a device lacks of a model. The pages are free.
    pub(crate) fn load(&mut self, device_id: DeviceId, model_id: ModelId, out: &mut Vec<Command>) {
        let now = self.now;
        let load = self.next_load();
        let model = self.models.get_mut(&model_id).expect("a model to load");
        let device = self.devices.get_mut(&device_id).expect("a device to load to");
        let first = device.ledger.resident(model_id);
        let segments = first..model.spec.segments.len() as u32;
        let sizes = &model.spec.segments[first as usize..];
        let pages = device.ledger.reserve(model_id, first, sizes).expect("pages were made free");
        if device.loads.is_empty() {
            device.link_since = now;
        }
        let (current, rest) = (sizes[0], sizes[1..].iter().copied().sum());
        device.loads.push_back(Loading {
            load,
            model: model_id,
            segments: segments.clone(),
            current,
            rest,
        });
        let place = model.places.entry(device_id).or_default();
        assert!(place.load.is_none() && place.rollback.is_none(), "one load of a model at a time");
        place.load = Some(load);
        place.fresh = true;
        let source = Source::Host;
        out.push(Command::Load { device: device_id, load, model: model_id, segments, pages, source });
        if model.spec.pinned {
            self.reassess(out);
        }
        self.refresh(model_id);
    }

    pub(crate) fn loaded(
        &mut self,
        device_id: DeviceId,
        load: LoadId,
        segment: u32,
        out: &mut Vec<Command>,
    ) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        let Some(at) = device.loads.iter().position(|loading| loading.load == load) else { return };
        let loading = &mut device.loads[at];
        let model_id = loading.model;
        let model = self.models.get_mut(&model_id).expect("a loading model");
        device.ledger.loaded(model_id, segment);
        device.link.observe(loading.current, now.saturating_sub(device.link_since));
        device.link_since = now;

        if segment + 1 == loading.segments.end {
            device.loads.remove(at);
            let spared = device.link.time(model.bytes);
            let place = model.places.get_mut(&device_id).expect("the place of a load");
            place.load = None;
            place.spared_until = now.saturating_add(spared);
            model.failures = 0;
            model.avoid = None;
            (self.replan, self.respread) = (true, true);
        } else {
            loading.current = model.spec.segments[segment as usize + 1];
            loading.rest -= loading.current;
        }
        self.refresh(model_id);
        // The loads behind have come closer: their runs may start early.
        let behind: Vec<ModelId> =
            self.devices[&device_id].loads.iter().map(|loading| loading.model).collect();
        for other in behind.into_iter().filter(|&other| other != model_id) {
            self.refresh(other);
        }
        self.settle(model_id, out);
    }

    pub(crate) fn load_failed(
        &mut self,
        device_id: DeviceId,
        load: LoadId,
        fatal: bool,
        out: &mut Vec<Command>,
    ) {
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        let Some(at) = device.loads.iter().position(|loading| loading.load == load) else { return };
        let loading = device.loads.remove(at).expect("the load that was found");
        if at == 0 {
            device.link_since = self.now;
        }
        let model_id = loading.model;
        let model = self.models.get_mut(&model_id).expect("a loading model");
        let place = model.places.get_mut(&device_id).expect("the place of a load");
        place.load = None;
        place.rollback = Some(loading.segments.start);
        model.failures += 1;
        model.avoid = Some(device_id);
        if fatal {
            model.banned.insert(device_id);
        }
        (self.replan, self.respread) = (true, true);
        self.roll_back(device_id, model_id, out);
        self.refresh(model_id);
        self.give_up(model_id, out);
        self.settle(model_id, out);
    }

    /// Gives back what a failed load has brought and reserved, once no run in flight reads it.
    pub(crate) fn roll_back(
        &mut self,
        device_id: DeviceId,
        model_id: ModelId,
        out: &mut Vec<Command>,
    ) {
        let model = self.models.get_mut(&model_id).expect("a model with a place");
        let place = model.places.get_mut(&device_id).expect("the place of a failed load");
        if place.running > 0 {
            return;
        }
        let Some(from) = place.rollback.take() else { return };
        let pinned = model.spec.pinned;
        let device = self.devices.get_mut(&device_id).expect("the device of a place");
        device.ledger.load_failed(model_id);
        let resident = device.ledger.resident(model_id);
        if from < resident {
            self.evict(device_id, model_id, from..resident, EvictCause::LoadFailed, out);
        }
        if pinned {
            self.reassess(out);
        }
    }

    pub(crate) fn evict(
        &mut self,
        device: DeviceId,
        model: ModelId,
        segments: Range<u32>,
        cause: EvictCause,
        out: &mut Vec<Command>,
    ) {
        let place = &self.models[&model].places[&device];
        assert!(place.running == 0 && place.load.is_none(), "{model} is evicted while in use");
        let ledger = &mut self.devices.get_mut(&device).expect("a device with pages").ledger;
        ledger.evict(model, segments.clone());
        out.push(Command::Evict { device, model, segments, cause });
    }

    /// Rejects what waits for a model whose loads failed too often, or that no device can load any more.
    fn give_up(&mut self, id: ModelId, out: &mut Vec<Command>) {
        if !self.models.contains_key(&id) {
            return;
        }
        let hopeless = self.despair(id);
        let model = self.models.get_mut(&id).expect("just looked up");
        model.hopeless = hopeless;
        let is_usable = model.places.values().any(|place| place.is_usable());
        if !is_usable && (hopeless.is_some() || model.failures >= self.config.load_tries) {
            model.failures = 0;
            self.reject_all(id, RejectReason::LoadFailed, out);
        }
    }

    /// Looks again at which models can be served at all, after devices or pinned models came or went, and rejects
    /// what waits for those that cannot.
    pub(crate) fn reassess(&mut self, out: &mut Vec<Command>) {
        for id in self.models.keys().copied().collect::<Vec<_>>() {
            let hopeless = self.despair(id);
            self.models.get_mut(&id).expect("a known model").hopeless = hopeless;
            match hopeless {
                Some(reason) => {
                    self.reject_all(id, reason, out);
                    self.settle(id, out);
                }
                None => self.refresh(id),
            }
        }
    }

    /// Why no device can serve a model, if so.
    pub(crate) fn despair(&self, id: ModelId) -> Option<RejectReason> {
        let model = &self.models[&id];
        if self.devices.is_empty() {
            return Some(RejectReason::NoDevice);
        }
        let mut reason = RejectReason::NeverFits;
        for &device in self.devices.keys() {
            if self.fits(device, id) {
                if !model.banned.contains(&device) {
                    return None;
                }
                reason = RejectReason::LoadFailed;
            }
        }
        Some(reason)
    }

    /// Whether a device could hold a model if everything that may be evicted were.
    pub(crate) fn fits(&self, device: DeviceId, id: ModelId) -> bool {
        let device = &self.devices[&device];
        let stays = |other: ModelId| {
            let model = &self.models[&other];
            other != id && model.spec.pinned && !model.removed
        };
        let pinned: u32 = device
            .ledger
            .models()
            .filter(|&(other, _)| stays(other))
            .map(|(_, held)| held.pages())
            .sum();
        device.pages_of(&self.models[&id].spec.segments, 0) <= device.ledger.pages() - pinned
    }

    /// The shortest predicted time to bring all of a model to some device.
    pub(crate) fn load_time(&self, bytes: Bytes) -> Time {
        self.devices.values().map(|device| device.link.time(bytes)).min().unwrap_or(Time::ZERO)
    }
}
