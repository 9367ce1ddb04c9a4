//! Loads and evictions: how segments come and go.

use crate::command::{Command, EvictCause, RejectReason, Source};
use crate::device::{Device, Loading};
use crate::model::Model;
use crate::policy::Neighbours;
use crate::scheduler::Scheduler;
use std::ops::Range;
use sublet_units::{Bytes, DeviceId, LoadId, ModelId, Time};

/// How much longer a copy takes beside another one behind the same switch, as a fraction: measured 1.5 to 1.6 times
/// (Torpor, figure 4).
const CONTENDED: (u64, u64) = (8, 5);

impl Scheduler {
    /// Commands the load of all that a device lacks of a model. The pages are free.
    pub(crate) fn load(
        &mut self,
        device_id: DeviceId,
        id: ModelId,
        source: Source,
        out: &mut Vec<Command>,
    ) {
        let now = self.now;
        let load = self.next_load();
        let model = &mut self.models[id];
        let device = &mut self.devices[device_id];
        let first = device.ledger.resident(id);
        let segments = first..model.spec.segments.len() as u32;
        let sizes = &model.spec.segments[first as usize..];
        let pages = device.ledger.reserve(id, first, sizes).expect("pages were made free");
        let (current, rest) = (sizes[0], sizes[1..].iter().copied().sum());
        let channel = device.channel_mut(source);
        if channel.loads.is_empty() {
            channel.since = now;
        }
        let loading =
            Loading { load, model: id, segments: segments.clone(), source, current, rest };
        channel.loads.push_back(loading);
        device.tenants.insert(id);
        if let Some(lender) = source.peer() {
            let place = model.places.get_mut(lender).expect("a device that has the model");
            assert!(place.can_lend(), "{id} is whole on {lender}");
            place.lends += 1;
        }
        let place = model.places.entry(device_id);
        assert!(place.load.is_none() && place.rollback.is_none(), "one load of a model at a time");
        place.load = Some(load);
        place.fresh = true;
        let pinned = model.spec.pinned;
        out.push(Command::Load { device: device_id, load, model: id, segments, pages, source });
        self.sync(device_id, id);
        self.revalue(id);
        self.refresh(id);
        // While the link is busy, nobody is kept from starting.
        self.note_open(device_id);
        if pinned {
            self.reassess(out);
        }
    }

    pub(crate) fn loaded(
        &mut self,
        device_id: DeviceId,
        load: LoadId,
        segment: u32,
        out: &mut Vec<Command>,
    ) {
        let now = self.now;
        let Some(device) = self.devices.get(device_id) else { return };
        let Some((source, at)) = device.find_load(load) else { return };
        let contended =
            source == Source::Host && self.neighbours(device_id, device).loading > Bytes::ZERO;
        let device = &mut self.devices[device_id];
        let loading = &device.channel(source).loads[at];
        let (id, end) = (loading.model, loading.segments.end);
        let model = &mut self.models[id];
        let mut bytes = Bytes::ZERO;
        for arrived in device.ledger.resident(id)..=segment {
            device.ledger.loaded(id, arrived);
            bytes += model.spec.segments[arrived as usize];
        }
        let channel = device.channel_mut(source);
        let mut took = now.saturating_sub(channel.since);
        if contended {
            took = Time(took.0 / CONTENDED.0 * CONTENDED.1);
        }
        channel.rate.observe(bytes, took);
        channel.since = now;

        if segment + 1 == end {
            channel.loads.remove(at);
            let spared = channel.rate.time(model.bytes);
            let place = model.places.get_mut(device_id).expect("the place of a load");
            place.load = None;
            place.awaited = !model.queue.is_empty();
            place.spared_until = now.saturating_add(spared);
            model.failures = 0;
            model.avoid = None;
            self.end_lending(id, source.peer());
            self.note_freed(device_id);
            self.devices[device_id].appraisal.expire();
            self.respread = true;
        } else {
            let next = model.spec.segments[segment as usize + 1];
            let loading = &mut channel.loads[at];
            // What arrived was the current segment and perhaps some of the rest.
            loading.rest = loading.rest + loading.current - bytes - next;
            loading.current = next;
        }
        self.sync(device_id, id);
        self.refresh(id);
        // The loads behind have come closer: their runs may start early.
        let loads = &self.devices[device_id].channel(source).loads;
        let behind: Vec<ModelId> = loads.iter().map(|loading| loading.model).collect();
        for other in behind.into_iter().filter(|&other| other != id) {
            self.refresh(other);
        }
        self.settle(id, out);
    }

    pub(crate) fn load_failed(
        &mut self,
        device_id: DeviceId,
        load: LoadId,
        fatal: bool,
        out: &mut Vec<Command>,
    ) {
        let Some(device) = self.devices.get_mut(device_id) else { return };
        let Some((source, at)) = device.find_load(load) else { return };
        let channel = device.channel_mut(source);
        let loading = channel.loads.remove(at).expect("the load that was found");
        if at == 0 {
            channel.since = self.now;
        }
        let id = loading.model;
        let model = &mut self.models[id];
        let place = model.places.get_mut(device_id).expect("the place of a load");
        place.load = None;
        place.rollback = Some(loading.segments.start);
        model.failures += 1;
        model.avoid = Some(device_id);
        if fatal {
            model.banned.insert(device_id);
        }
        model.indexed.tried = None;
        self.revalue(id);
        self.end_lending(id, source.peer());
        self.note_freed(device_id);
        self.respread = true;
        self.roll_back(device_id, id, out);
        self.refresh(id);
        self.give_up(id, out);
        self.settle(id, out);
    }

    /// A load no longer copies a model from the device that lent it.
    pub(crate) fn end_lending(&mut self, id: ModelId, lender: Option<DeviceId>) {
        let Some(lender) = lender else { return };
        if let Some(place) = self.place_mut(lender, id) {
            place.lends -= 1;
            self.note_freed(lender);
            self.refresh(id);
        }
    }

    /// Copies what the ledger says of a model on a device to where it is looked up often.
    fn sync(&mut self, device: DeviceId, id: ModelId) {
        let held = self.devices[device].ledger.residency(id);
        let (resident, pages) = held.map_or((0, 0), |held| (held.resident(), held.pages()));
        let model = &mut self.models[id];
        let segments = model.segments();
        if let Some(place) = model.places.get_mut(device) {
            (place.resident, place.pages) = (resident, pages);
            place.whole = resident == segments;
        }
    }

    /// What goes on behind a device's switch, beside it.
    pub(crate) fn neighbours(&self, id: DeviceId, device: &Device) -> Neighbours {
        let mut found = Neighbours::default();
        let Some(switch) = device.spec.switch else { return found };
        for &other in self.switches[&switch].iter().filter(|&&other| other != id) {
            let device = &self.devices[other];
            found.running |= device.busy > 0;
            found.copying |= !device.peer.loads.is_empty();
            found.loading += device.host.outstanding();
        }
        found
    }

    /// Where a device gets what it lacks of a model soonest, and when that is, from now on.
    pub(crate) fn source(
        &self,
        device_id: DeviceId,
        device: &Device,
        model: &Model,
        neighbours: &Neighbours,
    ) -> (Source, Time) {
        let resident = model.places.get(device_id).map_or(0, |place| place.resident);
        let missing = model.bytes_from(resident);
        let mut copy = device.host.rate.time(missing);
        if neighbours.loading > Bytes::ZERO {
            copy = Time(copy.0.saturating_mul(CONTENDED.0) / CONTENDED.1);
        }
        let host = device.host.wait(self.now, None).saturating_add(copy);
        let takes = device.peer.takes(self.now, self.config.loads_max);
        if self.config.copies_peers && takes && !device.spec.peers.is_empty() {
            let is_peer =
                |&lender: &DeviceId| device.spec.peers.iter().any(|peer| peer.device == lender);
            if let Some(lender) = model.sources(device_id).find(is_peer) {
                let copy = device.peer.rate.time(missing);
                let peer = device.peer.wait(self.now, None).saturating_add(copy);
                if peer <= host || !device.host.takes(self.now, self.config.loads_max) {
                    return (Source::Peer(lender), peer);
                }
            }
        }
        (Source::Host, host)
    }

    /// From now until a model could have come to a device.
    pub(crate) fn arrival_on(&self, device_id: DeviceId, device: &Device, id: ModelId) -> Time {
        let neighbours = self.neighbours(device_id, device);
        self.source(device_id, device, &self.models[id], &neighbours).1
    }

    /// Remembers which device has the fastest link to the host.
    pub(crate) fn find_fastest(&mut self) {
        let rate = |device: &Device| device.host.rate.time(Bytes::from_gib(1));
        let rates = self.devices.iter().map(|(id, device)| (rate(device), id));
        self.fastest = rates.min().map(|(_, id)| id);
    }

    /// Gives back what a failed load has brought and reserved, once no run in flight reads it.
    pub(crate) fn roll_back(
        &mut self,
        device_id: DeviceId,
        model_id: ModelId,
        out: &mut Vec<Command>,
    ) {
        let model = &mut self.models[model_id];
        let place = model.places.get_mut(device_id).expect("the place of a failed load");
        if place.running > 0 {
            return;
        }
        let Some(from) = place.rollback.take() else { return };
        let pinned = model.spec.pinned;
        let device = &mut self.devices[device_id];
        device.ledger.load_failed(model_id);
        let resident = device.ledger.resident(model_id);
        if from < resident {
            self.evict(device_id, model_id, from..resident, EvictCause::LoadFailed, out);
        }
        self.sync(device_id, model_id);
        self.note_freed(device_id);
        if pinned {
            self.refresh(model_id);
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
        let place = self.place_mut(device, model).expect("the place of a model with pages");
        let idle = place.running == 0 && place.load.is_none() && place.lends == 0;
        assert!(idle, "{model} is evicted while in use");
        self.devices[device].ledger.evict(model, segments.clone());
        out.push(Command::Evict { device, model, segments, cause });
        self.sync(device, model);
        self.revalue(model);
    }

    /// The number of a model's copies has changed, and so what each is worth.
    fn revalue(&mut self, id: ModelId) {
        for (device, _) in self.models[id].places.iter() {
            self.devices[*device].appraisal.expire();
        }
    }

    /// Rejects what waits for a model whose loads failed too often, or that no device can load any more.
    fn give_up(&mut self, id: ModelId, out: &mut Vec<Command>) {
        if !self.models.contains(id) {
            return;
        }
        self.unassign(id);
        let hopeless = self.despair(id);
        let model = &mut self.models[id];
        model.hopeless = hopeless;
        let is_usable = model.places.usable().next().is_some();
        if !is_usable && (hopeless.is_some() || model.failures >= self.config.load_tries) {
            model.failures = 0;
            self.reject_all(id, RejectReason::LoadFailed, out);
        }
    }

    /// Looks again at which models can be served at all, after devices or pinned models came or went, and rejects
    /// what waits for those that cannot.
    pub(crate) fn reassess(&mut self, out: &mut Vec<Command>) {
        for id in self.models.ids().to_vec() {
            self.unassign(id);
            let hopeless = self.despair(id);
            let model = &mut self.models[id];
            (model.hopeless, model.indexed.tried) = (hopeless, None);
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
        let model = &self.models[id];
        if self.devices.is_empty() {
            return Some(RejectReason::NoDevice);
        }
        let mut reason = RejectReason::NeverFits;
        for (device_id, device) in self.devices.iter() {
            if device.could_hold(device_id, model) {
                if !model.banned.contains(&device_id) {
                    return None;
                }
                reason = RejectReason::LoadFailed;
            }
        }
        Some(reason)
    }
}
