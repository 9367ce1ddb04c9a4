//! The state machine: what it remembers, how an event is taken, and what can be seen from outside.

use crate::command::{Command, EvictCause};
use crate::config::Config;
use crate::device::Device;
use crate::event::{DeviceSpec, Event, ModelSpec};
use crate::model::{Model, Place};
use crate::policy::Urgency;
use crate::requests::Waiting;
use std::collections::{BTreeMap, BTreeSet};
use sublet_units::{Bytes, DeviceId, LoadId, ModelId, RequestId, RunId, Time};

/// Decides who runs where, who is loaded, and who gives up memory.
///
/// Deterministic: the same configuration and the same calls give the same commands.
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) models: BTreeMap<ModelId, Model>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    /// Requests that wait; one that runs has left.
    pub(crate) requests: BTreeMap<RequestId, Waiting>,
    pub(crate) expiries: BTreeSet<(Time, RequestId)>,
    /// When a model must be looked at again although nothing happened to it.
    pub(crate) timers: BTreeSet<(Time, ModelId)>,
    /// Models with waiting requests that are on no device, nor on their way to one.
    pub(crate) wanting: BTreeSet<(Urgency, ModelId)>,
    /// Models with waiting requests that might profit from one more copy.
    pub(crate) spreading: BTreeSet<(Urgency, ModelId)>,
    /// Devices where a run might start.
    pub(crate) open: BTreeSet<DeviceId>,
    /// Whether something changed that may allow to load a wanting model.
    pub(crate) replan: bool,
    /// Whether something changed that may make a further copy of a model pay.
    pub(crate) respread: bool,
    pub(crate) arrivals: u64,
    loads: u64,
    runs: u64,
}

impl Scheduler {
    pub fn new(config: Config) -> Self {
        Scheduler {
            config,
            now: Time::ZERO,
            models: BTreeMap::new(),
            devices: BTreeMap::new(),
            requests: BTreeMap::new(),
            expiries: BTreeSet::new(),
            timers: BTreeSet::new(),
            wanting: BTreeSet::new(),
            spreading: BTreeSet::new(),
            open: BTreeSet::new(),
            replan: false,
            respread: false,
            arrivals: 0,
            loads: 0,
            runs: 0,
        }
    }

    /// Takes an event and appends to `out` what is to be done, in order. A `now` before that of an earlier call counts
    /// as that one.
    ///
    /// Events about loads, runs, requests and devices that are not known (any more) change nothing: they may have
    /// crossed a loss or a cancellation on their way.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Command>) {
        self.now = self.now.max(now);
        let grown = if let Event::Arrived(request) = &event { Some(request.model) } else { None };
        match event {
            Event::DeviceAdded { device, spec } => self.add_device(device, spec, out),
            Event::DeviceLost { device } => self.lose_device(device, out),
            Event::ModelAdded { model, spec } => self.add_model(model, spec),
            Event::ModelRemoved { model } => self.remove_model(model, out),
            Event::Arrived(request) => self.arrive(request, out),
            Event::Cancelled { request } => self.cancel(request, out),
            Event::Loaded { device, load, segment } => self.loaded(device, load, segment, out),
            Event::LoadFailed { device, load, fatal } => self.load_failed(device, load, fatal, out),
            Event::Finished { device, run, ok } => self.finished(device, run, ok, out),
            Event::Wake => {}
        }
        self.ring(out);
        self.place_wanting(out);
        self.fill_lanes(out);
        self.place_spreading(grown, out);
        self.fill_lanes(out);
    }

    /// When [`Event::Wake`] is wanted at the latest, unless another event comes first.
    pub fn next_wakeup(&self) -> Option<Time> {
        let timer = self.timers.first().map(|&(time, _)| time);
        let expiry = self.expiries.first().map(|&(time, _)| time);
        timer.into_iter().chain(expiry).min()
    }

    /// Requests that wait, over all models.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Requests that wait for one model.
    pub fn waiting_for(&self, model: ModelId) -> usize {
        self.models.get(&model).map_or(0, |model| model.queue.len())
    }

    /// Bytes of a model's segments that have arrived on a device.
    pub fn resident_bytes(&self, device: DeviceId, model: ModelId) -> Bytes {
        let (Some(device), Some(spec)) = (self.devices.get(&device), self.models.get(&model))
        else {
            return Bytes::ZERO;
        };
        let resident = device.ledger.resident(model);
        spec.spec.segments[..resident as usize].iter().copied().sum()
    }

    /// Pages of a device that nobody has; `None` for a device that is not there.
    pub fn free_pages(&self, device: DeviceId) -> Option<u32> {
        self.devices.get(&device).map(|device| device.ledger.free())
    }

    /// How long a run of a model with so many rows is predicted to take; `None` before the first.
    pub fn predicted_run(&self, model: ModelId, rows: u32) -> Option<Time> {
        self.models.get(&model)?.run_times.predict(rows)
    }

    /// How long it is predicted to take, on an idle link, to bring what a device lacks of a model.
    pub fn predicted_load(&self, device: DeviceId, model: ModelId) -> Option<Time> {
        let device = self.devices.get(&device)?;
        let resident = device.ledger.resident(model);
        Some(device.link.time(self.models.get(&model)?.bytes_from(resident)))
    }

    /// Whether no request waits and no run or load is in flight.
    pub fn is_idle(&self) -> bool {
        let is_idle = |device: &Device| device.busy_lanes() == 0 && device.loads.is_empty();
        self.requests.is_empty() && self.devices.values().all(is_idle)
    }

    pub(crate) fn next_load(&mut self) -> LoadId {
        self.loads += 1;
        LoadId(self.loads)
    }

    pub(crate) fn next_run(&mut self) -> RunId {
        self.runs += 1;
        RunId(self.runs)
    }

    fn add_device(&mut self, id: DeviceId, spec: DeviceSpec, out: &mut Vec<Command>) {
        let before = self.devices.insert(id, Device::new(spec, self.now));
        assert!(before.is_none(), "{id} is added once");
        let weightless = self.models.iter_mut().filter(|(_, model)| model.segments() == 0);
        for (_, model) in weightless {
            model.places.insert(id, Place::default());
        }
        self.reassess(out);
        (self.replan, self.respread) = (true, true);
    }

    fn lose_device(&mut self, id: DeviceId, out: &mut Vec<Command>) {
        if self.devices.remove(&id).is_none() {
            return;
        }
        self.open.remove(&id);
        for model in self.models.values_mut() {
            if let Some(place) = model.places.remove(&id) {
                model.running -= place.running;
            }
            model.banned.remove(&id);
        }
        self.replan = true;
        self.reassess(out);
        for id in self.models.keys().copied().collect::<Vec<_>>() {
            self.settle(id, out);
        }
    }

    fn add_model(&mut self, id: ModelId, spec: ModelSpec) {
        let mut model = Model::new(spec);
        if model.segments() == 0 {
            model.places.extend(self.devices.keys().map(|&device| (device, Place::default())));
        }
        model.last_used = self.now;
        let before = self.models.insert(id, model);
        assert!(before.is_none(), "{id} is added once");
        self.models.get_mut(&id).expect("just added").hopeless = self.despair(id);
    }

    fn remove_model(&mut self, id: ModelId, out: &mut Vec<Command>) {
        let Some(model) = self.models.get_mut(&id) else { return };
        model.removed = true;
        self.replan = true;
        if model.spec.pinned {
            self.reassess(out);
        }
        self.refresh(id);
        self.settle(id, out);
    }

    /// Lets a removed model go once nothing waits, runs or loads.
    pub(crate) fn settle(&mut self, id: ModelId, out: &mut Vec<Command>) {
        let Some(model) = self.models.get(&id) else { return };
        if !model.removed || !model.queue.is_empty() || model.running > 0 || model.is_loading() {
            return;
        }
        for device in model.places.keys().copied().collect::<Vec<_>>() {
            let resident = self.devices[&device].ledger.resident(id);
            if resident > 0 {
                self.evict(device, id, 0..resident, EvictCause::Removed, out);
            }
        }
        self.refresh(id);
        let model = self.models.remove(&id).expect("the model that goes");
        for device in model.places.keys() {
            let device = self.devices.get(device).expect("the device of a place");
            assert!(device.ledger.residency(id).is_none(), "{id} leaves nothing behind");
        }
        (self.replan, self.respread) = (true, true);
        out.push(Command::ModelGone { model: id });
    }
}
