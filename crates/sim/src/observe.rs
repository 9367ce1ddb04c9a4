//! Those who look at a simulation as it goes: logs, checkers, recorders, canaries.

use crate::machine::Ended;
use sublet_sched::{Command, Event, Request, Scheduler};
use sublet_units::Time;

/// What an observer objects to.
pub type Checked = Result<(), String>;

/// Sees every event with the commands that it led to. Objecting ends the simulation.
pub trait Observe {
    /// Whether [`Observe::event`] and [`Observe::stepped`] want to be called: a simulation without observers is spared
    /// the copies of its events.
    const WATCHES: bool;

    /// An event that the scheduler has not seen yet.
    fn event(&mut self, now: Time, event: &Event) -> Checked {
        let _ = (now, event);
        Ok(())
    }

    /// May change what the scheduler commanded, as a broken one would.
    fn tamper(&mut self, commands: &mut Vec<Command>) {
        let _ = commands;
    }

    /// The event has led to these commands, which have not been carried out yet.
    fn stepped(
        &mut self,
        now: Time,
        event: &Event,
        commands: &[Command],
        scheduler: &Scheduler,
    ) -> Checked {
        let _ = (now, event, commands, scheduler);
        Ok(())
    }

    /// A command that is about to be carried out.
    fn commanded(&mut self, now: Time, command: &Command) {
        let _ = (now, command);
    }

    /// A run has ended.
    fn ended(&mut self, now: Time, ended: &Ended) {
        let _ = (now, ended);
    }

    /// A request that follows from what has just happened.
    fn arrival(&mut self) -> Option<Request> {
        None
    }
}

/// Nobody looks.
impl Observe for () {
    const WATCHES: bool = false;
}

/// Both look, the first one first.
impl<A: Observe, B: Observe> Observe for (A, B) {
    const WATCHES: bool = A::WATCHES || B::WATCHES;

    fn event(&mut self, now: Time, event: &Event) -> Checked {
        self.0.event(now, event)?;
        self.1.event(now, event)
    }

    fn tamper(&mut self, commands: &mut Vec<Command>) {
        self.0.tamper(commands);
        self.1.tamper(commands);
    }

    fn stepped(
        &mut self,
        now: Time,
        event: &Event,
        commands: &[Command],
        scheduler: &Scheduler,
    ) -> Checked {
        self.0.stepped(now, event, commands, scheduler)?;
        self.1.stepped(now, event, commands, scheduler)
    }

    fn commanded(&mut self, now: Time, command: &Command) {
        self.0.commanded(now, command);
        self.1.commanded(now, command);
    }

    fn ended(&mut self, now: Time, ended: &Ended) {
        self.0.ended(now, ended);
        self.1.ended(now, ended);
    }

    fn arrival(&mut self) -> Option<Request> {
        self.0.arrival().or_else(|| self.1.arrival())
    }
}
