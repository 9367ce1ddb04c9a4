//! The state behind the core's lock, and the carrying out of the scheduler's commands.

use super::counters::{AllCounters, Counters, CountersIndex};
use super::outbox::Outbox;
use super::request::{Arriving, Request, Residency, Run};
use crate::served::Served;
use crate::{EngineEvent, ModelStatistics, SwapCause};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use sublet_device::{Device, Launch, Load, Part};
use sublet_sched::{Command, DeviceSpec, Event, EvictCause, ModelSpec, Scheduler, Source};
use sublet_units::{Bytes, DeviceId, LoadId, ModelId, RequestId, RunId, Time};

/// A first guess at a link whose rate is not known, in bytes per second; observed loads correct it.
const LINK_RATE_GUESS: u64 = 4_000_000_000;

pub(super) struct State {
    pub scheduler: Scheduler,
    /// What the thread that keeps time waits for.
    pub alarm_at: Option<Time>,
    /// No new requests.
    pub stopping: bool,
    /// No more anything.
    pub stopped: bool,
    pub requests: HashMap<RequestId, Request>,
    pub(super) runs: HashMap<RunId, Run>,
    pub(super) loads: HashMap<LoadId, Arriving>,
    pub(super) models: HashMap<ModelId, Model>,
    pub(super) devices: Vec<DeviceState>,
    pub(super) counters: AllCounters,
    requests_made: u64,
    /// Events that follow from carrying out commands.
    events: VecDeque<Event>,
    commands: Vec<Command>,
}

pub(super) struct Model {
    pub served: Arc<Served>,
    pub takes_requests: bool,
    pub counters: CountersIndex,
    pub attached: HashSet<DeviceId>,
    /// Indexed by device.
    pub residency: Vec<Residency>,
    /// Why its last swap-in failed.
    pub load_error: String,
}

pub(super) struct DeviceState {
    pub device: Arc<dyn Device>,
    pub alive: bool,
}

impl State {
    pub fn new(scheduler: Scheduler, devices: &[Arc<dyn Device>]) -> Self {
        let device = |device: &Arc<dyn Device>| DeviceState { device: device.clone(), alive: true };
        State {
            scheduler,
            alarm_at: None,
            stopping: false,
            stopped: false,
            requests: HashMap::new(),
            runs: HashMap::new(),
            loads: HashMap::new(),
            models: HashMap::new(),
            devices: devices.iter().map(device).collect(),
            counters: AllCounters::default(),
            requests_made: 0,
            events: VecDeque::new(),
            commands: Vec::new(),
        }
    }

    pub fn add_devices(&mut self, now: Time, outbox: &mut Outbox) {
        for index in 0..self.devices.len() {
            let info = self.devices[index].device.info();
            let spec = DeviceSpec {
                page_bytes: info.page_bytes,
                pages: info.pages,
                lanes: info.lanes,
                link_rate: info.link_rate.unwrap_or(LINK_RATE_GUESS),
                ..DeviceSpec::default()
            };
            self.step(now, Event::DeviceAdded { device: DeviceId(index as u32), spec }, outbox);
        }
    }

    /// Returns false, having done nothing, when the engine is stopping.
    pub fn add_model(
        &mut self,
        now: Time,
        served: &Arc<Served>,
        attached: &[DeviceId],
        spec: ModelSpec,
        load_ns: u64,
        outbox: &mut Outbox,
    ) -> bool {
        if self.stopping {
            return false;
        }
        let counters = self.counters.find(&served.name, served.version);
        self.counters.at(counters).loaded(load_ns, served.program.weight_bytes());
        let model = Model {
            served: served.clone(),
            takes_requests: true,
            counters,
            attached: attached.iter().copied().collect(),
            residency: vec![Residency::default(); self.devices.len()],
            load_error: String::new(),
        };
        self.models.insert(served.id, model);
        self.step(now, Event::ModelAdded { model: served.id, spec }, outbox);
        true
    }

    pub fn retire(&mut self, now: Time, model: ModelId, outbox: &mut Outbox) {
        if let Some(found) = self.models.get_mut(&model)
            && found.takes_requests
        {
            found.takes_requests = false;
            self.step(now, Event::ModelRemoved { model }, outbox);
        }
    }

    pub fn has_model(&self, model: ModelId) -> bool {
        self.models.contains_key(&model)
    }

    pub fn takes_requests(&self, model: ModelId) -> bool {
        self.models.get(&model).is_some_and(|model| model.takes_requests)
    }

    pub fn is_drained(&self) -> bool {
        self.requests.is_empty() && self.runs.is_empty() && self.loads.is_empty()
    }

    pub fn are_devices_alive(&self) -> bool {
        self.devices.iter().all(|device| device.alive)
    }

    pub fn is_device_alive(&self, device: DeviceId) -> bool {
        self.devices[device.0 as usize].alive
    }

    pub fn next_request(&mut self) -> RequestId {
        self.requests_made += 1;
        RequestId(self.requests_made)
    }

    pub fn statistics(&self, served: &Served) -> ModelStatistics {
        let counters = self.counters.get(&served.name, served.version);
        let mut statistics = counters.map(Counters::snapshot).unwrap_or_default();
        statistics.pending = self.scheduler.waiting_for(served.id) as u64;
        let devices = (0..self.devices.len() as u32).map(DeviceId);
        statistics.resident = devices
            .map(|device| (device, self.scheduler.resident_bytes(device, served.id)))
            .collect();
        statistics
    }

    /// Steps the scheduler, carries out its commands, and so on with what follows from that.
    pub fn step(&mut self, now: Time, event: Event, outbox: &mut Outbox) {
        if self.stopped {
            // The requests that the scheduler still knows were answered.
            return;
        }
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            let mut commands = std::mem::take(&mut self.commands);
            self.scheduler.step(now, event, &mut commands);
            for command in commands.drain(..) {
                self.carry_out(now, command, outbox);
            }
            self.commands = commands;
        }
    }

    fn carry_out(&mut self, now: Time, command: Command, outbox: &mut Outbox) {
        match command {
            Command::Load { device, load, model, segments, pages, source } => {
                assert_eq!(source, Source::Host, "no device declares peers");
                self.load(now, device, Load { load, model, segments, pages });
            }
            Command::Run { device, lane, run, model, requests, cold } => {
                let rows = self.start_run(now, &requests);
                let launch = self.launch(run, lane, model, &requests, rows);
                self.runs.insert(run, Run { device, model, requests, rows, cold });
                self.devices[device.0 as usize].device.launch(launch);
            }
            Command::Evict { device, model, segments, cause } => {
                self.evict(device, model, segments, cause, outbox);
            }
            Command::Reject { request, reason } => self.reject(now, request, reason, outbox),
            Command::ModelGone { model } => {
                if let Some(gone) = self.models.remove(&model) {
                    for device in &gone.attached {
                        self.devices[device.0 as usize].device.detach(model);
                    }
                    outbox.gone.push(gone.served);
                }
            }
            Command::Repartition { device, .. } => unreachable!("{device} declares no partitions"),
        }
    }

    fn load(&mut self, now: Time, device: DeviceId, load: Load) {
        let model = self.models.get_mut(&load.model).expect("only models that were added load");
        if !model.attached.contains(&device) {
            self.events.push_back(Event::LoadFailed { device, load: load.load, fatal: true });
            return;
        }
        model.residency[device.0 as usize].swap.get_or_insert((now, Bytes::ZERO));
        let arriving = Arriving { device, model: load.model, end: load.segments.end };
        self.loads.insert(load.load, arriving);
        self.devices[device.0 as usize].device.load(load);
    }

    /// Marks the requests as started; returns their rows.
    fn start_run(&mut self, now: Time, requests: &[RequestId]) -> u32 {
        let mut rows = 0;
        for request in requests {
            let request = self.requests.get_mut(request).expect("only requests that wait run");
            request.started = Some(now);
            rows += request.admitted.rows;
        }
        rows
    }

    fn launch(
        &self,
        run: RunId,
        lane: sublet_units::LaneId,
        model: ModelId,
        requests: &[RequestId],
        rows: u32,
    ) -> Launch {
        let first = &self.requests[&requests[0]];
        let plan = if requests.len() == 1 {
            first.plan.clone()
        } else {
            let mut shapes = first.admitted.shapes.clone();
            for shape in shapes.iter_mut().flatten() {
                shape.dims[0] = rows as usize;
            }
            first.served.plan(&shapes)
        };
        let part = |request: &RequestId| {
            let admitted = &self.requests[request].admitted;
            Part { rows: admitted.rows as usize, inputs: admitted.inputs.clone() }
        };
        Launch { run, lane, model, plan, parts: requests.iter().map(part).collect() }
    }

    fn evict(
        &mut self,
        device: DeviceId,
        model: ModelId,
        segments: Range<u32>,
        cause: EvictCause,
        outbox: &mut Outbox,
    ) {
        self.devices[device.0 as usize].device.evict(model, segments.clone());
        let cause = match cause {
            EvictCause::Room => SwapCause::Room,
            EvictCause::Removed => SwapCause::Removed,
            EvictCause::LoadFailed => SwapCause::LoadFailed,
        };
        let found = self.models.get_mut(&model).expect("only models that were added are evicted");
        let residency = &mut found.residency[device.0 as usize];
        let arrived = segments.start..segments.end.min(residency.segments).max(segments.start);
        residency.segments = residency.segments.min(segments.start);
        residency.swap = None;
        let served = found.served.clone();
        let layout = &served.program.packed.image.layout;
        let bytes = layout.segments[arrived.start as usize..arrived.end as usize]
            .iter()
            .map(|segment| Bytes::from(segment.len))
            .sum();
        self.counters.at(found.counters).evicted(cause);
        tracing::debug!(model = served.name, version = served.version, %device, %bytes, ?cause, "evicted");
        outbox.events.push(EngineEvent::Evicted {
            device,
            model: served.name.clone(),
            version: served.version,
            bytes,
            cause,
        });
    }

    pub(super) fn follow(&mut self, event: Event) {
        self.events.push_back(event);
    }
}
