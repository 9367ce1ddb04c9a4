//! The state machine: what it remembers, how an event is taken, and what can be seen from outside.

use crate::ahead::Ahead;
use crate::command::{Command, EvictCause};
use crate::config::Config;
use crate::device::Device;
use crate::event::{DeviceSpec, Event, ModelSpec};
use crate::model::{Model, Place};
use crate::partitions::Divider;
use crate::rank::Ranking;
use crate::requests::Waiting;
use crate::runs::Tenants;
use crate::table::{NumberMap, Table};
use crate::timers::Timers;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use sublet_units::{Bytes, DeviceId, LoadId, ModelId, RequestId, RunId, Time};

/// Decides who runs where, who is loaded, and who gives up memory.
///
/// Deterministic: the same configuration and the same calls give the same commands. Models and devices are looked up by
/// index, so their ids should count up from zero.
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) models: Table<ModelId, Model>,
    pub(crate) devices: Table<DeviceId, Device>,
    /// Devices behind each switch.
    pub(crate) switches: BTreeMap<u32, Vec<DeviceId>>,
    /// The device with the fastest link to the host.
    pub(crate) fastest: Option<DeviceId>,
    /// Requests that wait; one that runs has left.
    pub(crate) requests: NumberMap<RequestId, Waiting>,
    /// Some may have left; the first has not.
    pub(crate) expiries: BinaryHeap<Reverse<(Time, RequestId)>>,
    /// When a model must be looked at again although nothing happened to it.
    pub(crate) timers: Timers,
    /// Models that are on no device, nor on their way to one, and should be.
    pub(crate) wanting: Ranking,
    /// Models with waiting requests that might profit from one more copy.
    pub(crate) spreading: Ranking,
    /// Devices where a run might start.
    pub(crate) open: Vec<DeviceId>,
    /// Devices where memory or a link became free since loads were planned last.
    pub(crate) freed: Vec<DeviceId>,
    /// How often devices were looked for, for models that are nowhere.
    pub(crate) round: u64,
    /// Whether something changed that may allow to load a wanting model.
    pub(crate) replan: bool,
    /// Whether something changed that may make a further copy of a model pay.
    pub(crate) respread: bool,
    /// Models to be brought back before somebody waits for them.
    pub(crate) ahead: Ahead,
    pub(crate) tenants: Tenants,
    pub(crate) divider: Divider,
    pub(crate) arrivals: u64,
    /// Where the next look at devices begins, when there are many.
    pub(crate) looked: usize,
    loads: u64,
    runs: u64,
}

impl Scheduler {
    pub fn new(config: Config) -> Self {
        Scheduler {
            config,
            now: Time::ZERO,
            models: Table::new(),
            devices: Table::new(),
            switches: BTreeMap::new(),
            fastest: None,
            requests: NumberMap::default(),
            expiries: BinaryHeap::new(),
            timers: Timers::default(),
            wanting: Ranking::default(),
            spreading: Ranking::default(),
            open: Vec::new(),
            freed: Vec::new(),
            round: 0,
            replan: false,
            respread: false,
            ahead: Ahead::default(),
            tenants: Tenants::default(),
            divider: Divider::default(),
            arrivals: 0,
            looked: 0,
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
        self.review();
        self.divide();
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
        self.redivide(out);
        if self.config.policy.order.turned() {
            self.refresh_fronts();
        }
        self.place_wanting(out);
        self.fill_lanes(out);
        self.place_spreading(grown, out);
        self.load_ahead(out);
        self.fill_lanes(out);
        self.timers.settle();
        self.settle_expiries();
    }

    /// When [`Event::Wake`] is wanted at the latest, unless another event comes first.
    pub fn next_wakeup(&self) -> Option<Time> {
        let timer = self.timers.next().unwrap_or(Time::MAX);
        let expiry = self.expiries.peek().map_or(Time::MAX, |&Reverse((time, _))| time);
        let review = match self.requests.is_empty() {
            true => Time::MAX,
            false => self.config.policy.order.review_at(),
        };
        Some(timer.min(expiry).min(review)).filter(|&at| at < Time::MAX)
    }

    /// Requests that wait, over all models.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Requests that wait for one model.
    pub fn waiting_for(&self, model: ModelId) -> usize {
        self.models.get(model).map_or(0, |model| model.queue.len())
    }

    /// Bytes of a model's segments that have arrived on a device.
    pub fn resident_bytes(&self, device: DeviceId, model: ModelId) -> Bytes {
        let Some(model) = self.models.get(model) else { return Bytes::ZERO };
        let resident = model.places.get(device).map_or(0, |place| place.resident);
        model.bytes_before(resident)
    }

    /// Pages of a device that nobody has; `None` for a device that is not there.
    pub fn free_pages(&self, device: DeviceId) -> Option<u32> {
        self.devices.get(device).map(|device| device.ledger.free())
    }

    /// How long a run of a model with so many rows is predicted to take; `None` before the first.
    pub fn predicted_run(&self, model: ModelId, rows: u32) -> Option<Time> {
        self.models.get(model)?.run_times.predict(rows)
    }

    /// How long it is predicted to take, on an idle link, to bring what a device lacks of a model from the host.
    pub fn predicted_load(&self, device: DeviceId, model: ModelId) -> Option<Time> {
        let (device_id, device) = (device, self.devices.get(device)?);
        let model = self.models.get(model)?;
        let resident = model.places.get(device_id).map_or(0, |place| place.resident);
        Some(device.host.rate.time(model.bytes_from(resident)))
    }

    /// Whether no request waits and no run or load is in flight.
    pub fn is_idle(&self) -> bool {
        let is_idle = |device: &Device| device.busy == 0 && device.loads().next().is_none();
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

    /// Lets the policy change urgencies of models when it is time.
    fn review(&mut self) {
        if self.config.policy.order.review_at() > self.now {
            return;
        }
        self.config.policy.order.review(self.now);
        self.refresh_fronts();
    }

    /// Asks the policy anew about all that waits.
    fn refresh_fronts(&mut self) {
        for id in self.models.ids().to_vec() {
            if self.models[id].front.is_some() {
                self.refresh(id);
            }
        }
    }

    fn add_device(&mut self, id: DeviceId, spec: DeviceSpec, out: &mut Vec<Command>) {
        if let Some(switch) = spec.switch {
            self.switches.entry(switch).or_default().push(id);
        }
        let device = Device::new(spec, self.config.lanes_max, self.now);
        let before = self.devices.insert(id, device);
        assert!(before.is_none(), "{id} is added once");
        self.freed.push(id);
        for (model_id, model) in self.models.iter_mut() {
            if model.spec.segments.is_empty() {
                model.places.entry(id).whole = true;
                self.devices[id].tenants.insert(model_id);
            }
        }
        self.find_fastest();
        self.reassess(out);
        (self.replan, self.respread) = (true, true);
        self.ahead.look();
    }

    fn lose_device(&mut self, id: DeviceId, out: &mut Vec<Command>) {
        let Some(lost) = self.devices.remove(id) else { return };
        self.open.retain(|&device| device != id);
        self.freed.retain(|&device| device != id);
        if let Some(devices) = lost.spec.switch.and_then(|switch| self.switches.get_mut(&switch)) {
            devices.retain(|&device| device != id);
        }
        if let Some(claim) = &lost.claim {
            self.models[claim.model].indexed.claim = None;
        }
        for lane in &lost.lanes {
            if let Some(running) = lane.running {
                self.end_requests(running.model, &lane.batch, None);
            }
        }
        for (_, model) in self.models.iter_mut() {
            if let Some(place) = model.places.remove(id) {
                model.running -= place.running;
            }
            model.banned.remove(&id);
            model.indexed.tried = None;
        }
        for loading in lost.loads() {
            self.end_lending(loading.model, loading.source.peer());
        }
        self.find_fastest();
        self.replan = true;
        self.reassess(out);
        for id in self.models.ids().to_vec() {
            self.settle(id, out);
        }
    }

    fn add_model(&mut self, id: ModelId, spec: ModelSpec) {
        let mut model = Model::new(spec);
        if model.spec.segments.is_empty() {
            for (device_id, device) in self.devices.iter_mut() {
                model.places.entry(device_id).whole = true;
                device.tenants.insert(id);
            }
        }
        model.last_used = self.now;
        self.tenants.join(model.spec.tenant, model.spec.weight);
        let before = self.models.insert(id, model);
        assert!(before.is_none(), "{id} is added once");
        self.models[id].hopeless = self.despair(id);
        self.refresh(id);
    }

    fn remove_model(&mut self, id: ModelId, out: &mut Vec<Command>) {
        let Some(model) = self.models.get_mut(id) else { return };
        model.removed = true;
        self.replan = true;
        let pinned = model.spec.pinned;
        self.refresh(id);
        if pinned {
            self.reassess(out);
        }
        self.settle(id, out);
    }

    /// Lets a removed model go once nothing waits, runs or loads.
    pub(crate) fn settle(&mut self, id: ModelId, out: &mut Vec<Command>) {
        let Some(model) = self.models.get(id) else { return };
        if !model.removed || !model.queue.is_empty() || model.running > 0 || model.is_loading() {
            return;
        }
        for device in model.places.devices() {
            let resident = self.devices[device].ledger.resident(id);
            if resident > 0 {
                self.evict(device, id, 0..resident, EvictCause::Removed, out);
            }
        }
        self.refresh(id);
        self.timers.set(id, None);
        self.ahead.forget(id);
        let model = self.models.remove(id).expect("the model that goes");
        for (device, _) in model.places.iter() {
            let device = &mut self.devices[*device];
            assert!(device.ledger.residency(id).is_none(), "{id} leaves nothing behind");
            device.tenants.remove(id);
        }
        (self.replan, self.respread) = (true, true);
        self.ahead.look();
        out.push(Command::ModelGone { model: id });
    }

    /// Notes that memory or a link has become free on a device.
    pub(crate) fn note_freed(&mut self, id: DeviceId) {
        self.replan = true;
        self.ahead.look();
        let device = &mut self.devices[id];
        if !std::mem::replace(&mut device.freed, true) {
            self.freed.push(id);
        }
    }

    /// A device that may be on the way to be open, for the next look at its lanes.
    pub(crate) fn note_open(&mut self, id: DeviceId) {
        let device = &mut self.devices[id];
        if !std::mem::replace(&mut device.open, true) {
            self.open.push(id);
        }
    }

    pub(crate) fn place_mut(&mut self, device: DeviceId, model: ModelId) -> Option<&mut Place> {
        self.models.get_mut(model)?.places.get_mut(device)
    }
}
