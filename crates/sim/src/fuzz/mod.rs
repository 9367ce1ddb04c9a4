//! The fuzzer: a random world with random faults, then a phase without faults in which everything must finish.
//!
//! All is drawn from one seed. The checker looks at every command, the log folds the run into one number, and canaries
//! show that the checker would notice.

mod canary;
mod draw;
mod tally;

pub use canary::{Canary, Fault};
pub use draw::Draw;
pub use tally::Tally;

use crate::checker::Checker;
use crate::log::Log;
use crate::machine::Machine;
use crate::world::{Violation, World};
use std::collections::BTreeMap;
use sublet_sched::{Config, Event, ModelSpec, Preset};
use sublet_units::{DeviceId, ModelId, RequestId, Time};

/// What no request of the calm phase may wait beyond the scheduler's patience.
const WAIT_BEYOND_PATIENCE: Time = Time::from_secs(5);

/// Events that a world may take for each of those drawn for it.
const STEPS_PER_EVENT: u64 = 100;

/// Devices that a world may have at once.
const DEVICES_MAX: usize = 4;

/// What a run of the fuzzer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Repeats if the run does.
    pub hash: u64,
    /// Events that the scheduler was told.
    pub steps: u64,
    pub tally: Tally,
    pub longest_wait: Time,
}

type Watchers = (Canary, (Checker, (Log, Tally)));

/// One random world.
pub struct Fuzz {
    world: World<Watchers>,
    draw: Draw,
    devices: Vec<DeviceId>,
    models: BTreeMap<ModelId, ModelSpec>,
    /// Still taking requests.
    open_models: Vec<ModelId>,
    recent: Vec<RequestId>,
    /// What lost devices report all the same, too late.
    late: BTreeMap<(Time, u64), Event>,
    posted: u64,
    is_faulty: bool,
    longest_wait: Time,
}

/// The deadline of requests that state none.
const SLO: Time = Time::from_millis(500);

impl Fuzz {
    /// A random world for a preset, with some of the scheduler's options drawn as well.
    pub fn random(preset: Preset, seed: u64, fault: Fault) -> Self {
        let mut draw = Draw::random(seed);
        let mut config = Config::new(preset, SLO);
        (config.admit, config.fair) = (draw.chance(20), draw.chance(20));
        let is_static = matches!(preset, Preset::DeepPlanServer | Preset::Gpulet);
        let fuzz = Fuzz::new(config, draw, fault);
        // Where models keep to one device, its backlog may be long while others rest: that is no starvation.
        if is_static { fuzz.within(Time::from_secs(30)) } else { fuzz }
    }

    pub fn new(config: Config, draw: Draw, fault: Fault) -> Self {
        let mut machine = Machine::new(draw.machine_seed());
        machine.set_trouble(draw.trouble);
        if fault == Fault::Haste {
            machine.make_hasty();
        }
        let checker = Checker::new(config.queue_max);
        let longest_wait = config.patience.saturating_add(WAIT_BEYOND_PATIENCE);
        let observers = (Canary::new(fault), (checker, (Log::default(), Tally::default())));
        let mut world = World::new(config, machine, observers);
        let drawn = u64::from(draw.faulty + draw.calm + draw.models + draw.devices);
        world.limit_steps(drawn * STEPS_PER_EVENT);
        Fuzz {
            world,
            draw,
            devices: Vec::new(),
            models: BTreeMap::new(),
            open_models: Vec::new(),
            recent: Vec::new(),
            late: BTreeMap::new(),
            posted: 0,
            is_faulty: true,
            longest_wait,
        }
    }

    /// Another bound on how long a request of the calm phase may wait than what follows from the scheduler's patience.
    pub fn within(self, longest_wait: Time) -> Self {
        Fuzz { longest_wait, ..self }
    }

    /// Faults, then calm, then nothing new: everything must have ended.
    pub fn run(mut self) -> Result<Report, Violation> {
        for _ in 0..self.draw.devices {
            self.add_device()?;
        }
        for _ in 0..self.draw.models {
            self.add_model()?;
        }
        for _ in 0..self.draw.faulty {
            self.disturb()?;
        }
        self.calm_down()?;
        for _ in 0..self.draw.calm {
            let gap = self.draw.around(self.draw.calm_gap);
            self.pass(gap)?;
            self.request()?;
        }
        self.world.drain()?;
        for model in std::mem::take(&mut self.open_models) {
            self.world.step(Event::ModelRemoved { model })?;
        }
        self.world.drain()?;
        self.conclude()
    }

    fn calm_down(&mut self) -> Result<(), Violation> {
        self.is_faulty = false;
        self.world.machine().set_trouble(crate::machine::Trouble::default());
        for &device in &self.devices {
            self.world.machine().slow_link(device, crate::cost::ONE);
        }
        for event in std::mem::take(&mut self.late).into_values() {
            self.world.step(event)?;
        }
        if self.devices.is_empty() {
            self.add_device()?;
        }
        if self.open_models.is_empty() {
            self.add_model()?;
        }
        let now = self.world.now();
        let (canary, (checker, _)) = &mut self.world.observer;
        canary.wake();
        checker.watch_waits(now);
        Ok(())
    }

    fn conclude(self) -> Result<Report, Violation> {
        let at = self.world.now();
        let (canary, (checker, (log, tally))) = &self.world.observer;
        let violation = |what: String| Violation { at, what };
        checker.check_end(self.world.scheduler()).map_err(violation)?;
        let longest_wait = checker.longest_wait();
        if longest_wait > self.longest_wait {
            return Err(violation(format!("a request waited {longest_wait}")));
        }
        let tally = Tally { tampered: canary.tampered(), ..*tally };
        Ok(Report { hash: log.hash(), steps: self.world.steps(), tally, longest_wait })
    }

    /// Lets time pass, with what lost devices still say.
    fn pass(&mut self, span: Time) -> Result<(), Violation> {
        let until = self.world.now() + span;
        while let Some((&key, _)) = self.late.first_key_value()
            && key.0 <= until
        {
            let event = self.late.remove(&key).expect("the first one");
            self.world.advance(key.0)?;
            self.world.step(event)?;
        }
        self.world.advance(until)
    }

    fn disturb(&mut self) -> Result<(), Violation> {
        let gap = self.draw.around(self.draw.faulty_gap);
        self.pass(gap)?;
        match self.draw.rng.u32(0..100) {
            0..70 => self.request(),
            70..76 => {
                for _ in 0..self.draw.rng.u32(5..30) {
                    self.request()?;
                }
                Ok(())
            }
            76..86 => {
                let Some(&request) = self.draw.rng.choice(&self.recent) else { return Ok(()) };
                self.world.step(Event::Cancelled { request })
            }
            86..88 => {
                if let Some(&device) = self.draw.rng.choice(&self.devices) {
                    let speed = 1 << self.draw.rng.u32(12..17);
                    self.world.machine().slow_link(device, speed);
                }
                Ok(())
            }
            88..92 => self.add_model(),
            92..96 => {
                if self.open_models.is_empty() {
                    return Ok(());
                }
                let at = self.draw.rng.usize(0..self.open_models.len());
                let model = self.open_models.remove(at);
                self.world.step(Event::ModelRemoved { model })
            }
            96..98 => self.lose_device(),
            _ => self.add_device(),
        }
    }

    fn request(&mut self) -> Result<(), Violation> {
        let model = if self.is_faulty && self.draw.chance(2) {
            // Unknown, removed, or any other.
            Some(ModelId(self.draw.rng.u32(0..30)))
        } else {
            self.draw.pick(&self.open_models)
        };
        let Some(model) = model else { return Ok(()) };
        if !self.draw.takes(self.world.scheduler().waiting_for(model)) {
            return Ok(());
        }
        let none = ModelSpec::default();
        let spec = self.models.get(&model).unwrap_or(&none);
        let request = self.draw.request(self.world.now(), model, spec);
        self.recent.push(request.id);
        if self.recent.len() > 20 {
            self.recent.remove(0);
        }
        self.world.step(Event::Arrived(request))
    }

    fn add_model(&mut self) -> Result<(), Violation> {
        let (spec, cost) = self.draw.model();
        let model = self.world.add_model(spec.clone(), cost)?;
        self.models.insert(model, spec);
        self.open_models.push(model);
        Ok(())
    }

    fn add_device(&mut self) -> Result<(), Violation> {
        if self.devices.len() >= DEVICES_MAX {
            return Ok(());
        }
        let (spec, cost) = self.draw.device(&self.devices);
        self.devices.push(self.world.add_device(spec, cost)?);
        Ok(())
    }

    /// Half of what the device still had to report arrives all the same, too late.
    fn lose_device(&mut self) -> Result<(), Violation> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let at = self.draw.rng.usize(0..self.devices.len());
        let device = self.devices.remove(at);
        for event in self.world.lose_device(device)? {
            if self.draw.rng.bool() {
                let time = self.world.now() + self.draw.around(Time::from_millis(5));
                self.posted += 1;
                self.late.insert((time, self.posted), event);
            }
        }
        Ok(())
    }
}
