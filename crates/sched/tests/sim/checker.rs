//! Keeps its own books from events and commands alone, and says which promise a command breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use sublet_sched::{Command, DeviceSpec, Event, EvictCause, ModelSpec, RejectReason, Request};
use sublet_units::{Bytes, DeviceId, LaneId, LoadId, ModelId, PageId, RequestId, RunId, Time};

type Checked = Result<(), String>;

#[derive(Default)]
pub struct Checker {
    devices: BTreeMap<DeviceId, Device>,
    models: BTreeMap<ModelId, Model>,
    gone: BTreeSet<ModelId>,
    requests: BTreeMap<RequestId, State>,
    asked: BTreeMap<RequestId, (Request, Time)>,
    cancelled: BTreeSet<RequestId>,
    runs: BTreeMap<RunId, Run>,
    /// Longest time from arrival to start, of requests that arrived since [`Checker::watch_waits`].
    pub longest_wait: Time,
    watched_since: Option<Time>,
    queue_max: usize,
    waiting: usize,
}

struct Device {
    spec: DeviceSpec,
    pages: Vec<Option<(ModelId, u32)>>,
    held: BTreeMap<ModelId, Held>,
    lanes: BTreeMap<LaneId, RunId>,
}

#[derive(Default)]
struct Held {
    arrived: u32,
    load: Option<(LoadId, Range<u32>)>,
    /// Reserved by a load that failed while runs were in flight.
    failed: Option<Range<u32>>,
}

struct Model {
    spec: ModelSpec,
    removed: bool,
}

struct Run {
    device: DeviceId,
    lane: LaneId,
    model: ModelId,
    requests: Vec<RequestId>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Waiting,
    Running,
    Ended,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Checker {
    pub fn new(queue_max: usize) -> Self {
        Checker { queue_max, ..Checker::default() }
    }

    pub fn watch_waits(&mut self, now: Time) {
        self.watched_since = Some(now);
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Everything that arrived has ended, and what was removed is gone.
    pub fn check_end(&self) -> Checked {
        for (id, state) in &self.requests {
            ensure(*state == State::Ended, || format!("{id} never ended: it is {state:?}"))?;
        }
        for (id, model) in &self.models {
            ensure(!model.removed, || format!("{id} was removed and is still here"))?;
        }
        Ok(())
    }

    pub fn event(&mut self, now: Time, event: &Event) -> Checked {
        match event {
            Event::DeviceAdded { device, spec } => {
                let pages = vec![None; spec.pages as usize];
                let (held, lanes) = Default::default();
                self.devices.insert(*device, Device { spec: spec.clone(), pages, held, lanes });
            }
            Event::DeviceLost { device } => {
                self.devices.remove(device);
                let lost: Vec<RunId> = self
                    .runs
                    .iter()
                    .filter(|(_, r)| r.device == *device)
                    .map(|(&id, _)| id)
                    .collect();
                for run in lost {
                    self.end_run(run)?;
                }
            }
            Event::ModelAdded { model, spec } => {
                self.models.insert(*model, Model { spec: spec.clone(), removed: false });
            }
            Event::ModelRemoved { model } => {
                if let Some(model) = self.models.get_mut(model) {
                    model.removed = true;
                }
            }
            Event::Arrived(request) => {
                self.requests.insert(request.id, State::Waiting);
                self.waiting += 1;
                self.asked.insert(request.id, (request.clone(), now));
            }
            Event::Cancelled { request } => {
                self.cancelled.insert(*request);
            }
            Event::Loaded { device, load, segment } => self.loaded(*device, *load, *segment),
            Event::LoadFailed { device, load, .. } => self.load_failed(*device, *load),
            Event::Finished { device, run, .. } => {
                if let Some(ended) = self.runs.get(run) {
                    let model = ended.model;
                    self.end_run(*run)?;
                    self.release_failed(*device, model);
                }
            }
            Event::Wake => {}
        }
        Ok(())
    }

    pub fn command(&mut self, now: Time, command: &Command) -> Checked {
        match command {
            Command::Load { device, load, model, segments, pages, .. } => {
                self.load(*device, *load, *model, segments, pages)
            }
            Command::Run { device, lane, run, model, requests, .. } => {
                self.run(now, *device, *lane, *run, *model, requests)
            }
            Command::Evict { device, model, segments, cause } => {
                self.evict(*device, *model, segments, *cause)
            }
            Command::Reject { request, reason } => self.reject(now, *request, *reason),
            Command::ModelGone { model } => self.model_gone(*model),
            Command::Repartition { device, .. } => Err(format!("{device} has no partitions")),
        }
    }

    /// Evictions that make room come before a load on the same device that needed them.
    pub fn check_step(&self, commands: &[Command]) -> Checked {
        let mut made: BTreeMap<DeviceId, u32> = BTreeMap::new();
        for command in commands {
            match command {
                Command::Evict { device, model, segments, cause: EvictCause::Room } => {
                    let pages = self.pages_of(*device, *model, segments.clone());
                    *made.entry(*device).or_default() += pages;
                }
                Command::Load { device, .. } => {
                    made.remove(device);
                }
                _ => {}
            }
        }
        ensure(made.is_empty(), || format!("evictions made room for nobody: {commands:?}"))
    }

    fn pages_of(&self, device: DeviceId, model: ModelId, segments: Range<u32>) -> u32 {
        let page = self.devices[&device].spec.page_bytes;
        let Some(model) = self.models.get(&model) else { return 0 };
        segments.map(|segment| pages_of(&model.spec, segment, page)).sum()
    }

    fn running_on(&self, device: DeviceId, model: ModelId) -> usize {
        self.runs.values().filter(|run| run.device == device && run.model == model).count()
    }

    fn load(
        &mut self,
        device_id: DeviceId,
        load: LoadId,
        model: ModelId,
        segments: &Range<u32>,
        pages: &[PageId],
    ) -> Checked {
        let spec = &self.models.get(&model).ok_or(format!("{model} is loaded but unknown"))?.spec;
        ensure(segments.end == spec.segments.len() as u32, || format!("{load} is not whole"))?;
        let device =
            self.devices.get_mut(&device_id).ok_or(format!("{load} goes to {device_id}"))?;
        let held = device.held.entry(model).or_default();
        ensure(held.load.is_none() && held.failed.is_none(), || {
            format!("{load} is a second load")
        })?;
        ensure(segments.start == held.arrived, || format!("{load} leaves a gap"))?;
        ensure(!segments.is_empty(), || format!("{load} is empty"))?;
        held.load = Some((load, segments.clone()));
        let mut pages = pages.iter();
        for segment in segments.clone() {
            let count = pages_of(spec, segment, device.spec.page_bytes);
            for _ in 0..count {
                let page = pages.next().ok_or(format!("{load} has too few pages"))?;
                let place = device.pages.get_mut(page.0 as usize).ok_or("no such page")?;
                if let Some((holder, _)) = place {
                    return Err(format!("{load} takes {page} of {device_id}, but {holder} has it"));
                }
                *place = Some((model, segment));
            }
        }
        ensure(pages.next().is_none(), || format!("{load} has too many pages"))
    }

    fn run(
        &mut self,
        now: Time,
        device_id: DeviceId,
        lane: LaneId,
        run: RunId,
        model_id: ModelId,
        requests: &[RequestId],
    ) -> Checked {
        let model = self.models.get(&model_id).ok_or(format!("{run} of unknown {model_id}"))?;
        let instances = self.runs.values().filter(|run| run.model == model_id).count();
        let limit = model.spec.instances.unwrap_or(u32::MAX) as usize;
        ensure(instances < limit, || format!("{run} is one instance of {model_id} too many"))?;
        let device =
            self.devices.get_mut(&device_id).ok_or(format!("{run} goes to {device_id}"))?;
        ensure(lane.0 < device.spec.lanes, || format!("{device_id} has no {lane}"))?;
        let before = device.lanes.insert(lane, run);
        ensure(before.is_none(), || format!("{run} is put on busy {lane} of {device_id}"))?;
        let segments = model.spec.segments.len() as u32;
        let has_weights = match device.held.get(&model_id) {
            Some(Held { failed: Some(_), .. }) => false,
            Some(Held { load: Some((_, range)), .. }) => range.end == segments,
            Some(held) => held.arrived == segments,
            None => segments == 0,
        };
        ensure(has_weights, || format!("{run} starts {model_id} without its weights"))?;

        let mut rows = 0;
        let key = requests.first().map(|request| self.asked[request].0.key);
        for request in requests {
            let state = self.requests.get_mut(request).ok_or(format!("{request} is unknown"))?;
            ensure(*state != State::Ended, || format!("{request} ends twice"))?;
            ensure(*state == State::Waiting, || format!("{request} runs twice"))?;
            *state = State::Running;
            self.waiting -= 1;
            let (asked, arrived) = &self.asked[request];
            ensure(asked.model == model_id, || format!("{request} is not for {model_id}"))?;
            ensure(requests.len() == 1 || Some(asked.key) == key, || format!("{run} mixes keys"))?;
            rows += asked.rows;
            if self.watched_since.is_some_and(|since| *arrived >= since) {
                self.longest_wait = self.longest_wait.max(now - *arrived);
            }
        }
        let rows_max = model.spec.batching.map_or(1, |batching| batching.rows_max);
        let fits = rows <= rows_max || requests.len() == 1;
        ensure(fits && !requests.is_empty(), || format!("{run} has {rows} rows"))?;
        let requests = requests.to_vec();
        self.runs.insert(run, Run { device: device_id, lane, model: model_id, requests });
        Ok(())
    }

    fn evict(
        &mut self,
        device_id: DeviceId,
        model_id: ModelId,
        segments: &Range<u32>,
        cause: EvictCause,
    ) -> Checked {
        let what = || format!("{segments:?} of {model_id} on {device_id}");
        let runs = self.running_on(device_id, model_id);
        ensure(runs == 0, || format!("evicts {}, which is in use", what()))?;
        let model = self.models.get(&model_id).ok_or(format!("evicts {}", what()))?;
        let device = self.devices.get_mut(&device_id).ok_or(format!("evicts {}", what()))?;
        let held = device.held.get_mut(&model_id).ok_or(format!("evicts {}", what()))?;
        ensure(held.load.is_none(), || format!("evicts {}, which is loading", what()))?;
        ensure(held.arrived == segments.end && !segments.is_empty(), || {
            format!("evicts {} although {} are resident", what(), held.arrived)
        })?;
        let allowed = match cause {
            EvictCause::Room => !model.spec.pinned || model.removed,
            EvictCause::Removed => model.removed,
            EvictCause::LoadFailed => true,
        };
        ensure(allowed, || format!("evicts {} because of {cause:?}", what()))?;
        held.arrived = segments.start;
        device.free(model_id, segments);
        Ok(())
    }

    fn reject(&mut self, now: Time, request: RequestId, reason: RejectReason) -> Checked {
        let waiting = self.waiting;
        let state = self.requests.get_mut(&request).ok_or(format!("{request} is unknown"))?;
        ensure(*state != State::Ended, || format!("{request} ends twice"))?;
        ensure(*state == State::Waiting, || format!("{request} is rejected while it runs"))?;
        *state = State::Ended;
        self.waiting -= 1;
        let asked = &self.asked[&request].0;
        let is_true = match reason {
            RejectReason::NoModel => self.models.get(&asked.model).is_none_or(|m| m.removed),
            RejectReason::NeverFits => !self.fits_empty(asked.model),
            RejectReason::QueueFull => waiting > self.queue_max,
            RejectReason::Expired => asked.expires.is_some_and(|at| at <= now),
            RejectReason::Cancelled => self.cancelled.contains(&request),
            RejectReason::LoadFailed => true,
            RejectReason::NoDevice => self.devices.is_empty(),
            RejectReason::TooLate => asked.deadline.is_some(),
        };
        ensure(is_true, || format!("{request} is rejected as {reason:?}, which is not so"))
    }

    /// Whether some device could hold the model if only pinned models stayed.
    fn fits_empty(&self, id: ModelId) -> bool {
        let is_pinned = |other: &ModelId| {
            *other != id && self.models.get(other).is_some_and(|m| m.spec.pinned && !m.removed)
        };
        self.devices.iter().any(|(&device_id, device)| {
            let pinned = device.pages.iter().flatten().filter(|(m, _)| is_pinned(m)).count() as u32;
            let segments = self.models[&id].spec.segments.len() as u32;
            self.pages_of(device_id, id, 0..segments) + pinned <= device.spec.pages
        })
    }

    fn model_gone(&mut self, id: ModelId) -> Checked {
        ensure(!self.gone.contains(&id), || format!("{id} goes twice"))?;
        let model = self.models.remove(&id).ok_or(format!("{id} goes but is unknown"))?;
        ensure(model.removed, || format!("{id} goes but was not removed"))?;
        self.gone.insert(id);
        for (request, (asked, _)) in &self.asked {
            let ended = asked.model != id || self.requests[request] == State::Ended;
            ensure(ended, || format!("{id} goes before {request} has ended"))?;
        }
        for (device_id, device) in &self.devices {
            let has_pages = device.pages.iter().flatten().any(|(model, _)| *model == id);
            let is_held = device.held.get(&id).is_some_and(|h| h.arrived > 0 || h.load.is_some());
            ensure(!has_pages && !is_held, || format!("{id} goes but is on {device_id}"))?;
        }
        Ok(())
    }

    fn end_run(&mut self, run: RunId) -> Checked {
        let Some(run) = self.runs.remove(&run) else { return Ok(()) };
        if let Some(device) = self.devices.get_mut(&run.device) {
            device.lanes.remove(&run.lane);
        }
        for request in run.requests {
            let state = self.requests.get_mut(&request).expect("a running request is known");
            ensure(*state == State::Running, || format!("{request} ends twice"))?;
            *state = State::Ended;
        }
        Ok(())
    }

    fn loaded(&mut self, device: DeviceId, load: LoadId, segment: u32) {
        let Some(device) = self.devices.get_mut(&device) else { return };
        for held in device.held.values_mut() {
            if let Some((id, range)) = &held.load
                && *id == load
            {
                held.arrived = segment + 1;
                if held.arrived == range.end {
                    held.load = None;
                }
                return;
            }
        }
    }

    fn load_failed(&mut self, device_id: DeviceId, load: LoadId) {
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        let found =
            device.held.iter_mut().find(|(_, h)| h.load.as_ref().is_some_and(|l| l.0 == load));
        let Some((&model, held)) = found else { return };
        let (_, range) = held.load.take().expect("the load that was found");
        held.failed = Some(held.arrived..range.end);
        self.release_failed(device_id, model);
    }

    /// Pages of a failed load are free once no run waits for them.
    fn release_failed(&mut self, device_id: DeviceId, model: ModelId) {
        if self.running_on(device_id, model) > 0 {
            return;
        }
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        if let Some(segments) = device.held.get_mut(&model).and_then(|held| held.failed.take()) {
            device.free(model, &segments);
        }
    }
}

impl Device {
    fn free(&mut self, model: ModelId, segments: &Range<u32>) {
        for page in &mut self.pages {
            if page.is_some_and(|(m, segment)| m == model && segments.contains(&segment)) {
                *page = None;
            }
        }
    }
}

/// Pages of a region that a segment begins: the page in which it starts may belong to the one before it.
fn pages_of(spec: &ModelSpec, segment: u32, page: Bytes) -> u32 {
    let start: Bytes = spec.segments[..segment as usize].iter().copied().sum();
    let end = start + spec.segments[segment as usize];
    (end.div_ceil(page) - start.div_ceil(page)) as u32
}
