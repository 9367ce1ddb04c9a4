//! Keeps its own books from events and commands alone, and says which promise a command breaks.
//!
//! Each request ends exactly once; pages never overlap and budgets hold; nothing runs, or ends, without its weights; what
//! is in use is not evicted; nobody waits for ever.

mod memory;
mod requests;

use crate::observe::{Checked, Observe};
use memory::Device;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use sublet_sched::{
    Command, Event, EvictCause, ModelSpec, RejectReason, Request, Scheduler, Source,
};
use sublet_units::{DeviceId, LaneId, LoadId, ModelId, PageId, RequestId, RunId, Time};

#[derive(Debug)]
pub struct Checker {
    devices: BTreeMap<DeviceId, Device>,
    models: BTreeMap<ModelId, Model>,
    gone: BTreeSet<ModelId>,
    requests: BTreeMap<RequestId, Asked>,
    cancelled: BTreeSet<RequestId>,
    runs: BTreeMap<RunId, Run>,
    longest_wait: Time,
    watched_since: Option<Time>,
    queue_max: usize,
    waiting: usize,
}

#[derive(Debug)]
struct Model {
    spec: ModelSpec,
    removed: bool,
    /// Requests that have not ended.
    open: u32,
}

#[derive(Debug)]
struct Asked {
    request: Request,
    arrived: Time,
    state: State,
}

#[derive(Debug)]
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
    /// `queue_max`: the scheduler's limit, which alone allows it to say that its queue is full.
    pub fn new(queue_max: usize) -> Self {
        Checker {
            devices: BTreeMap::new(),
            models: BTreeMap::new(),
            gone: BTreeSet::new(),
            requests: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            runs: BTreeMap::new(),
            longest_wait: Time::ZERO,
            watched_since: None,
            queue_max,
            waiting: 0,
        }
    }

    /// Measures how long requests wait that arrive from now on.
    pub fn watch_waits(&mut self, now: Time) {
        self.watched_since = Some(now);
    }

    /// Longest time from arrival to start, of requests that arrived since [`Checker::watch_waits`].
    pub fn longest_wait(&self) -> Time {
        self.longest_wait
    }

    /// Everything that arrived has ended, what was removed is gone, and no page is lost. For a simulation that has come
    /// to rest after all models were removed.
    pub fn check_end(&self, scheduler: &Scheduler) -> Checked {
        for (id, asked) in &self.requests {
            let state = asked.state;
            ensure(state == State::Ended, || format!("{id} never ended: it is {state:?}"))?;
        }
        for (id, model) in &self.models {
            ensure(!model.removed, || format!("{id} was removed and is still here"))?;
        }
        ensure(scheduler.is_idle(), || "the scheduler believes something is in flight".into())?;
        for (&id, device) in &self.devices {
            let free = scheduler.free_pages(id);
            ensure(free == Some(device.spec.pages), || format!("pages of {id} are lost"))?;
        }
        Ok(())
    }

    fn running_on(&self, device: DeviceId, model: ModelId) -> usize {
        self.runs.values().filter(|run| run.device == device && run.model == model).count()
    }

    /// Evictions that make room come before a load on the same device that needed them.
    fn check_step(&self, commands: &[Command]) -> Checked {
        let mut made: BTreeSet<DeviceId> = BTreeSet::new();
        for command in commands {
            match command {
                Command::Evict { device, cause: EvictCause::Room, .. } => {
                    made.insert(*device);
                }
                Command::Load { device, .. } => {
                    made.remove(device);
                }
                _ => {}
            }
        }
        ensure(made.is_empty(), || format!("evictions made room for nobody: {commands:?}"))
    }

    fn check_command(&mut self, now: Time, command: &Command) -> Checked {
        match command {
            Command::Load { device, load, model, segments, pages, source } => {
                self.check_source(*device, *model, *source)?;
                self.load(*device, *load, *model, segments, pages, *source)
            }
            Command::Run { device, lane, run, model, requests, .. } => {
                self.run(now, *device, *lane, *run, *model, requests)
            }
            Command::Evict { device, model, segments, cause } => {
                self.evict(*device, *model, segments, *cause)
            }
            Command::Reject { request, reason } => self.reject(now, *request, *reason),
            Command::ModelGone { model } => self.model_gone(*model),
            Command::Repartition { device, shares } => self.repartition(*device, shares),
        }
    }

    fn model_gone(&mut self, id: ModelId) -> Checked {
        ensure(!self.gone.contains(&id), || format!("{id} goes twice"))?;
        let model = self.models.remove(&id).ok_or(format!("{id} goes but is unknown"))?;
        ensure(model.removed, || format!("{id} goes but was not removed"))?;
        ensure(model.open == 0, || format!("{id} goes before {} requests have ended", model.open))?;
        self.gone.insert(id);
        for (device_id, device) in &self.devices {
            ensure(!device.has_any(id), || format!("{id} goes but is on {device_id}"))?;
        }
        Ok(())
    }
}

impl Observe for Checker {
    const WATCHES: bool = true;

    fn event(&mut self, now: Time, event: &Event) -> Checked {
        match event {
            Event::DeviceAdded { device, spec } => {
                self.devices.insert(*device, Device::new(spec.clone()));
            }
            Event::DeviceLost { device } => {
                self.devices.remove(device);
                let is_lost = |run: &Run| run.device == *device;
                let lost = self.runs.iter().filter(|(_, run)| is_lost(run)).map(|(&id, _)| id);
                for run in lost.collect::<Vec<RunId>>() {
                    self.end_run(run)?;
                }
            }
            Event::ModelAdded { model, spec } => {
                let model_ = Model { spec: spec.clone(), removed: false, open: 0 };
                self.models.insert(*model, model_);
            }
            Event::ModelRemoved { model } => {
                if let Some(model) = self.models.get_mut(model) {
                    model.removed = true;
                }
            }
            Event::Arrived(request) => self.arrive(now, request),
            Event::Cancelled { request } => {
                self.cancelled.insert(*request);
            }
            Event::Loaded { device, load, segment } => self.loaded(*device, *load, *segment),
            Event::LoadFailed { device, load, .. } => self.load_failed(*device, *load),
            Event::Finished { device, run, ok } => self.finished(*device, *run, *ok)?,
            Event::Wake => {}
        }
        Ok(())
    }

    fn stepped(
        &mut self,
        now: Time,
        _: &Event,
        commands: &[Command],
        scheduler: &Scheduler,
    ) -> Checked {
        for command in commands {
            self.check_command(now, command)?;
        }
        self.check_step(commands)?;
        let is_due = scheduler.next_wakeup().is_some_and(|wake| wake <= now);
        ensure(!is_due, || "a wake-up is left undone".into())?;
        ensure(scheduler.waiting() == self.waiting, || "the queue's length is wrong".into())
    }
}
