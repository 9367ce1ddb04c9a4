//! The simulated machine: links that copy one load after the other, lanes that compute, and a clock of whole
//! nanoseconds.

use crate::checker::Checker;
use crate::log::Log;
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use sublet_sched::{
    Command, Config, DeviceSpec, Event, EvictCause, ModelSpec, RejectReason, Scheduler,
};
use sublet_units::{DeviceId, LoadId, ModelId, RequestId, RunId, Time};

/// What no request of the calm phase may exceed: patience, and then some.
const LONGEST_WAIT: Time = Time::from_secs(4);

/// What a broken scheduler does to its own commands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    None,
    EvictBusy,
    SwallowLoad,
    AnswerTwice,
    SwallowReject,
    SwallowRun,
    SharePages,
    GoneTwice,
}

/// What happened, to see that the simulation reaches what it is meant to test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub hash: u64,
    pub events: u64,
    pub requests: u64,
    pub runs: u64,
    pub cold: u64,
    pub joined: u64,
    pub overlapped: u64,
    pub loads: u64,
    pub partial_loads: u64,
    pub evictions: u64,
    pub failed_loads: u64,
    pub copies: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub never_fits: u64,
    pub gone: u64,
    pub lost_devices: u64,
    pub tampered: u64,
    pub longest_wait: Time,
}

pub struct World {
    scheduler: Scheduler,
    checker: Checker,
    workload: Workload,
    fault: Fault,
    now: Time,
    sequence: u64,
    agenda: BTreeMap<(Time, u64), Event>,
    devices: BTreeMap<DeviceId, Machine>,
    devices_made: u32,
    models: BTreeMap<ModelId, ModelSpec>,
    /// Still taking requests.
    open_models: Vec<ModelId>,
    models_made: u32,
    recent: Vec<RequestId>,
    is_faulty: bool,
    log: Log,
    report: Report,
    steps_at_now: u32,
}

struct Machine {
    spec: DeviceSpec,
    /// What the link really does, per page of bytes.
    link_free_at: Time,
    /// When each model's load in flight will be over, and whether it will have failed.
    loads: BTreeMap<ModelId, (LoadId, Time, bool)>,
}

impl World {
    pub fn new(config: Config, workload: Workload, fault: Fault) -> Self {
        World {
            checker: Checker::new(config.queue_max),
            scheduler: Scheduler::new(config),
            workload,
            fault,
            now: Time::ZERO,
            sequence: 0,
            agenda: BTreeMap::new(),
            devices: BTreeMap::new(),
            devices_made: 0,
            models: BTreeMap::new(),
            open_models: Vec::new(),
            models_made: 0,
            recent: Vec::new(),
            is_faulty: true,
            log: Log::default(),
            report: Report::default(),
            steps_at_now: 0,
        }
    }

    /// Faults, then calm, then nothing new: everything must have ended.
    pub fn run(mut self) -> Result<Report, String> {
        for _ in 0..self.workload.devices {
            self.add_device()?;
        }
        for _ in 0..self.workload.models {
            self.add_model()?;
        }
        for _ in 0..self.workload.faulty {
            self.disturb()?;
        }
        self.is_faulty = false;
        if self.devices.is_empty() {
            self.add_device()?;
        }
        if self.open_models.is_empty() {
            self.add_model()?;
        }
        self.checker.watch_waits(self.now);
        for _ in 0..self.workload.calm {
            let gap = self.workload.around(self.workload.calm_gap);
            self.advance(gap)?;
            self.request()?;
        }
        for _ in 0..1_000_000 {
            let Some(next) = self.next_time() else { break };
            self.advance(next - self.now)?;
        }
        for model in self.open_models.clone() {
            self.step(Event::ModelRemoved { model })?;
        }
        for _ in 0..1_000_000 {
            let Some(next) = self.next_time() else { break };
            self.advance(next - self.now)?;
        }
        self.checker.check_end()?;
        if !self.scheduler.is_idle() {
            return Err("the scheduler believes that something is in flight".into());
        }
        for (&device, machine) in &self.devices {
            if self.scheduler.free_pages(device) != Some(machine.spec.pages) {
                return Err(format!("pages of {device} are lost"));
            }
        }
        self.report.longest_wait = self.checker.longest_wait;
        if self.report.longest_wait > LONGEST_WAIT {
            return Err(format!("a request waited {}", self.report.longest_wait));
        }
        self.report.hash = self.log.hash();
        Ok(self.report)
    }

    fn next_time(&self) -> Option<Time> {
        let event = self.agenda.first_key_value().map(|(&(time, _), _)| time);
        event.into_iter().chain(self.scheduler.next_wakeup()).min()
    }

    /// Lets time pass, with all that happens in it.
    fn advance(&mut self, span: Time) -> Result<(), String> {
        let until = self.now + span;
        while let Some(next) = self.next_time()
            && next <= until
        {
            if next < self.now {
                return Err(format!("a wake-up at {next} lies in the past"));
            }
            self.steps_at_now = if next == self.now { self.steps_at_now + 1 } else { 0 };
            if self.steps_at_now > 10_000 {
                return Err(format!("time stands still at {next}"));
            }
            self.now = next;
            match self.agenda.first_key_value() {
                Some((&key, _)) if key.0 == next => {
                    let event = self.agenda.remove(&key).expect("the first of the agenda");
                    self.step(event)?;
                }
                _ => self.step(Event::Wake)?,
            }
        }
        self.now = until;
        Ok(())
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        let mut commands = Vec::new();
        self.checker.event(self.now, &event)?;
        self.scheduler.step(self.now, event.clone(), &mut commands);
        self.report.events += 1;
        self.tamper(&mut commands);
        self.log.record(self.now, &event, &commands);
        if let Event::Loaded { device, load, .. } | Event::LoadFailed { device, load, .. } = event
            && let Some(machine) = self.devices.get_mut(&device)
        {
            let now = self.now;
            machine.loads.retain(|_, &mut (id, end, _)| id != load || end > now);
        }
        let now = self.now;
        let at = |error: String| format!("at {now}: {error}");
        for command in &commands {
            self.checker.command(self.now, command).map_err(at)?;
        }
        self.checker.check_step(&commands).map_err(at)?;
        for command in commands {
            self.carry_out(command);
        }
        if self.scheduler.next_wakeup().is_some_and(|wake| wake <= self.now) {
            return Err(format!("at {}: a wake-up is left undone", self.now));
        }
        if self.scheduler.waiting() != self.checker.waiting() {
            return Err(format!("at {}: the queue's length is wrong", self.now));
        }
        Ok(())
    }

    fn disturb(&mut self) -> Result<(), String> {
        let gap = self.workload.around(self.workload.faulty_gap);
        self.advance(gap)?;
        match self.workload.rng.u32(0..100) {
            0..70 => self.request(),
            70..76 => {
                for _ in 0..self.workload.rng.u32(5..30) {
                    self.request()?;
                }
                Ok(())
            }
            76..88 => {
                let Some(&request) = self.workload.rng.choice(&self.recent) else { return Ok(()) };
                self.step(Event::Cancelled { request })
            }
            88..92 => self.add_model(),
            92..96 => {
                if self.open_models.is_empty() {
                    return Ok(());
                }
                let at = self.workload.rng.usize(0..self.open_models.len());
                let model = self.open_models.remove(at);
                self.step(Event::ModelRemoved { model })
            }
            96..98 => self.lose_device(),
            _ => self.add_device(),
        }
    }

    fn request(&mut self) -> Result<(), String> {
        let mut models = self.open_models.clone();
        if self.is_faulty && self.workload.chance(2) {
            models = vec![ModelId(self.workload.rng.u32(0..30))];
        }
        let Some(model) = self.workload.pick(&models) else { return Ok(()) };
        if !self.workload.takes(self.scheduler.waiting_for(model)) {
            return Ok(());
        }
        let none = ModelSpec::default();
        let spec = self.models.get(&model).unwrap_or(&none);
        let request = self.workload.request(self.now, model, spec);
        self.recent.push(request.id);
        if self.recent.len() > 20 {
            self.recent.remove(0);
        }
        self.report.requests += 1;
        self.step(Event::Arrived(request))
    }

    fn add_model(&mut self) -> Result<(), String> {
        let (model, spec) = (ModelId(self.models_made), self.workload.model());
        self.models_made += 1;
        self.models.insert(model, spec.clone());
        self.open_models.push(model);
        self.step(Event::ModelAdded { model, spec })
    }

    fn add_device(&mut self) -> Result<(), String> {
        if self.devices.len() >= 4 {
            return Ok(());
        }
        let (device, spec) = (DeviceId(self.devices_made), self.workload.device());
        self.devices_made += 1;
        let machine =
            Machine { spec: spec.clone(), link_free_at: self.now, loads: BTreeMap::new() };
        self.devices.insert(device, machine);
        self.step(Event::DeviceAdded { device, spec })
    }

    /// Half of what the device still had to report arrives all the same, too late.
    fn lose_device(&mut self) -> Result<(), String> {
        let Some((&device, _)) = self.devices.last_key_value() else { return Ok(()) };
        self.devices.remove(&device);
        self.report.lost_devices += 1;
        let rng = &mut self.workload.rng;
        self.agenda.retain(|_, event| match event {
            Event::Loaded { device: d, .. }
            | Event::LoadFailed { device: d, .. }
            | Event::Finished { device: d, .. } => *d != device || rng.bool(),
            _ => true,
        });
        self.step(Event::DeviceLost { device })
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Load { device, load, model, segments, .. } => {
                self.report.loads += 1;
                self.report.partial_loads += u64::from(segments.start > 0);
                let copies = self.devices.values().any(|m| m.loads.contains_key(&model));
                self.report.copies += u64::from(copies);
                self.copy(device, load, model, segments);
            }
            Command::Run { device, run, model, requests, cold, .. } => {
                self.report.runs += 1;
                self.report.cold += u64::from(cold);
                self.report.joined += requests.len() as u64 - 1;
                self.compute(device, run, model, requests.len() as u64);
            }
            Command::Evict { .. } => self.report.evictions += 1,
            Command::Reject { reason, .. } => match reason {
                RejectReason::Expired => self.report.expired += 1,
                RejectReason::Cancelled => self.report.cancelled += 1,
                RejectReason::NeverFits => self.report.never_fits += 1,
                _ => {}
            },
            Command::ModelGone { .. } => self.report.gone += 1,
            Command::Repartition { .. } => {}
        }
    }

    fn copy(
        &mut self,
        device: DeviceId,
        load: LoadId,
        model: ModelId,
        segments: std::ops::Range<u32>,
    ) {
        let fails = self.is_faulty && self.workload.chance(self.workload.load_fails);
        let fails_at = if fails { self.workload.rng.u32(segments.clone()) } else { segments.end };
        let fatal = fails && self.workload.chance(10);
        let machine = self.devices.get_mut(&device).expect("loads go to devices that are there");
        let mut time = machine.link_free_at.max(self.now);
        for segment in segments {
            let bytes = self.models[&model].segments[segment as usize].0;
            let mut took = Time(bytes * 1_000_000_000 / machine.spec.link_rate);
            if self.is_faulty && self.workload.chance(self.workload.slow_copies) {
                took = took * 10;
            }
            time += took;
            let event = if segment == fails_at {
                self.report.failed_loads += 1;
                Event::LoadFailed { device, load, fatal }
            } else {
                Event::Loaded { device, load, segment }
            };
            self.sequence += 1;
            self.agenda.insert((time, self.sequence), event);
            if segment == fails_at {
                break;
            }
        }
        machine.link_free_at = time;
        machine.loads.insert(model, (load, time, fails));
    }

    fn compute(&mut self, device: DeviceId, run: RunId, model: ModelId, requests: u64) {
        let base = Time::from_micros(300 + u64::from(model.0 % 7) * 400 + requests * 100);
        let took = Time(base.0 / 2) + self.workload.around(Time(base.0 / 2));
        let machine = &self.devices[&device];
        let (mut start, mut ok) = (self.now, true);
        if let Some(&(_, end, fails)) = machine.loads.get(&model) {
            self.report.overlapped += 1;
            start = start.max(end);
            ok = !fails;
        }
        ok &= !(self.is_faulty && self.workload.chance(self.workload.run_fails));
        self.sequence += 1;
        self.agenda.insert((start + took, self.sequence), Event::Finished { device, run, ok });
    }

    /// Breaks one kind of command now and then.
    fn tamper(&mut self, commands: &mut Vec<Command>) {
        let find = |kind: fn(&Command) -> bool| commands.iter().position(kind);
        let at = match self.fault {
            // In the phase with faults, a lost device may hide what was done.
            _ if self.is_faulty => None,
            Fault::None => None,
            Fault::EvictBusy | Fault::SwallowRun | Fault::AnswerTwice => {
                find(|c| matches!(c, Command::Run { .. }))
            }
            Fault::SwallowLoad | Fault::SharePages => find(|c| matches!(c, Command::Load { .. })),
            Fault::SwallowReject => find(|c| matches!(c, Command::Reject { .. })),
            Fault::GoneTwice => find(|c| matches!(c, Command::ModelGone { .. })),
        };
        let Some(at) = at else { return };
        match (self.fault, commands[at].clone()) {
            (Fault::EvictBusy, Command::Run { device, model, .. }) => {
                let segments = self.models[&model].segments.len() as u32;
                let cause = EvictCause::Room;
                commands
                    .insert(at + 1, Command::Evict { device, model, segments: 0..segments, cause });
            }
            (Fault::AnswerTwice, Command::Run { requests, .. }) => {
                let reason = RejectReason::Cancelled;
                commands.insert(at + 1, Command::Reject { request: requests[0], reason });
            }
            (Fault::SwallowLoad | Fault::SwallowRun | Fault::SwallowReject, _) => {
                commands.remove(at);
            }
            (Fault::GoneTwice, gone) => commands.insert(at, gone),
            (Fault::SharePages, Command::Load { .. }) => {
                if let Command::Load { pages, .. } = &mut commands[at] {
                    if pages.len() < 2 {
                        return;
                    }
                    let last = pages.len() - 1;
                    pages[last] = pages[0];
                }
            }
            _ => return,
        }
        self.report.tampered += 1;
    }
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.hash ^= other.hash;
        self.events += other.events;
        self.requests += other.requests;
        self.runs += other.runs;
        self.cold += other.cold;
        self.joined += other.joined;
        self.overlapped += other.overlapped;
        self.loads += other.loads;
        self.partial_loads += other.partial_loads;
        self.evictions += other.evictions;
        self.failed_loads += other.failed_loads;
        self.copies += other.copies;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.never_fits += other.never_fits;
        self.gone += other.gone;
        self.lost_devices += other.lost_devices;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }
}

impl Report {
    /// Over many seeds, everything that the checker watches has happened.
    pub fn assert_covered(&self) {
        for (name, count) in [
            ("runs", self.runs),
            ("cold runs", self.cold),
            ("joined requests", self.joined),
            ("evictions", self.evictions),
            ("failed loads", self.failed_loads),
            ("expired requests", self.expired),
            ("cancelled requests", self.cancelled),
            ("requests that never fit", self.never_fits),
            ("models gone", self.gone),
            ("lost devices", self.lost_devices),
        ] {
            assert!(count > 100, "{name}: only {count} in {self:?}");
        }
    }
}
