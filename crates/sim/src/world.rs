//! A scheduler and a machine under one clock of whole nanoseconds.

use crate::cost::{DeviceCost, ModelCost};
use crate::machine::{Happening, Machine};
use crate::observe::Observe;
use sublet_sched::{Command, Config, DeviceSpec, Event, ModelSpec, Scheduler};
use sublet_units::{DeviceId, ModelId, Time};
use thiserror::Error;

/// A simulation that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at {at}: {what}")]
pub struct Violation {
    pub at: Time,
    pub what: String,
}

/// Steps that may follow each other at one time before it counts as standing still.
const STEPS_AT_ONCE: u32 = 100_000;

/// Drives a scheduler: passes on what the machine does, carries out what the scheduler commands, and wakes it when it
/// wants to be woken. Whoever owns the world brings the requests.
pub struct World<O> {
    scheduler: Scheduler,
    machine: Machine,
    pub observer: O,
    now: Time,
    commands: Vec<Command>,
    steps: u64,
    steps_max: u64,
    steps_at_now: u32,
}

impl<O: Observe> World<O> {
    pub fn new(config: Config, machine: Machine, observer: O) -> Self {
        World {
            scheduler: Scheduler::new(config),
            machine,
            observer,
            now: Time::ZERO,
            commands: Vec::new(),
            steps: 0,
            steps_max: u64::MAX,
            steps_at_now: 0,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// Events that the scheduler was told.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// More events than this count as a scheduler that never comes to rest.
    pub fn limit_steps(&mut self, steps_max: u64) {
        self.steps_max = steps_max;
    }

    /// Ends the simulation and gives back who looked at it.
    pub fn into_observer(self) -> O {
        self.observer
    }

    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    pub fn add_device(
        &mut self,
        spec: DeviceSpec,
        cost: DeviceCost,
    ) -> Result<DeviceId, Violation> {
        let device = self.machine.add_device(cost);
        self.step(Event::DeviceAdded { device, spec })?;
        Ok(device)
    }

    pub fn add_model(&mut self, spec: ModelSpec, cost: ModelCost) -> Result<ModelId, Violation> {
        let model = self.machine.add_model(cost);
        self.step(Event::ModelAdded { model, spec })?;
        Ok(model)
    }

    /// Takes a device away. Returns what it had still to report.
    pub fn lose_device(&mut self, device: DeviceId) -> Result<Vec<Event>, Violation> {
        let loss = self.machine.lose_device(self.now, device);
        for end in &loss.ended {
            self.observer.ended(self.now, end);
        }
        self.step(Event::DeviceLost { device })?;
        for failed in loss.failed {
            self.step(failed)?;
        }
        Ok(loss.late)
    }

    /// Lets time pass until `until`, with all that happens in it.
    pub fn advance(&mut self, until: Time) -> Result<(), Violation> {
        while let Some(next) = self.next_time()
            && next <= until
        {
            self.turn(next)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Lets time pass until nothing more happens by itself.
    pub fn drain(&mut self) -> Result<(), Violation> {
        while let Some(next) = self.next_time() {
            self.turn(next)?;
        }
        Ok(())
    }

    /// Tells the scheduler something, now.
    pub fn step(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.now;
        let violation = |what: String| Violation { at: now, what };
        self.steps += 1;
        if self.steps > self.steps_max {
            let what = format!("{} events, and no end; the last one is {event:?}", self.steps);
            return Err(violation(what));
        }
        if O::WATCHES {
            self.observer.event(now, &event).map_err(violation)?;
            self.scheduler.step(now, event.clone(), &mut self.commands);
            self.observer.tamper(&mut self.commands);
            self.observer
                .stepped(now, &event, &self.commands, &self.scheduler)
                .map_err(violation)?;
        } else {
            self.scheduler.step(now, event, &mut self.commands);
        }
        for command in self.commands.drain(..) {
            self.observer.commanded(now, &command);
            self.machine.carry_out(now, command);
        }
        Ok(())
    }

    /// When something happens next by itself.
    fn next_time(&mut self) -> Option<Time> {
        match (self.machine.next_time(), self.scheduler.next_wakeup()) {
            (Some(machine), Some(wake)) => Some(machine.min(wake)),
            (machine, wake) => machine.or(wake),
        }
    }

    /// One thing that happens at `next`.
    fn turn(&mut self, next: Time) -> Result<(), Violation> {
        if next < self.now {
            let what = format!("a wake-up at {next} lies in the past");
            return Err(Violation { at: self.now, what });
        }
        self.steps_at_now = if next == self.now { self.steps_at_now + 1 } else { 0 };
        if self.steps_at_now > STEPS_AT_ONCE {
            return Err(Violation { at: next, what: "time stands still".into() });
        }
        self.now = next;
        if self.machine.next_time() != Some(next) {
            return self.step(Event::Wake);
        }
        let Some((_, Happening { event, ended })) = self.machine.pop() else { return Ok(()) };
        if let Some(ended) = &ended {
            self.observer.ended(next, ended);
        }
        self.step(event)?;
        while let Some(request) = self.observer.arrival() {
            self.step(Event::Arrived(request))?;
        }
        Ok(())
    }
}
