//! What happened, to see that the fuzzer reaches what it is meant to test.

use crate::observe::{Checked, Observe};
use std::ops::AddAssign;
use sublet_sched::{Command, Event, RejectReason, Scheduler, Source};
use sublet_units::Time;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub runs: u64,
    pub cold: u64,
    pub joined: u64,
    pub loads: u64,
    pub partial_loads: u64,
    pub peer_loads: u64,
    /// Loads of models that no request waited for.
    pub ahead_loads: u64,
    pub evictions: u64,
    pub failed_loads: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub never_fits: u64,
    pub gone: u64,
    pub repartitions: u64,
    pub lost_devices: u64,
    /// Commands that a canary spoiled.
    pub tampered: u64,
}

impl Observe for Tally {
    const WATCHES: bool = true;

    fn stepped(
        &mut self,
        _: Time,
        event: &Event,
        commands: &[Command],
        scheduler: &Scheduler,
    ) -> Checked {
        match event {
            Event::Arrived(_) => self.requests += 1,
            Event::LoadFailed { .. } => self.failed_loads += 1,
            Event::DeviceLost { .. } => self.lost_devices += 1,
            _ => {}
        }
        for command in commands {
            match command {
                Command::Load { segments, source, model: loaded, .. } => {
                    let runs = |command: &Command| matches!(command, Command::Run { model, .. } if model == loaded);
                    let is_asked = scheduler.waiting_for(*loaded) > 0 || commands.iter().any(runs);
                    self.ahead_loads += u64::from(!is_asked);
                    self.loads += 1;
                    self.partial_loads += u64::from(segments.start > 0);
                    self.peer_loads += u64::from(*source != Source::Host);
                }
                Command::Run { requests, cold, .. } => {
                    self.runs += 1;
                    self.cold += u64::from(*cold);
                    self.joined += requests.len() as u64 - 1;
                }
                Command::Evict { .. } => self.evictions += 1,
                Command::Reject { reason, .. } => match reason {
                    RejectReason::Expired => self.expired += 1,
                    RejectReason::Cancelled => self.cancelled += 1,
                    RejectReason::NeverFits => self.never_fits += 1,
                    _ => {}
                },
                Command::ModelGone { .. } => self.gone += 1,
                Command::Repartition { .. } => self.repartitions += 1,
            }
        }
        Ok(())
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.requests += other.requests;
        self.runs += other.runs;
        self.cold += other.cold;
        self.joined += other.joined;
        self.loads += other.loads;
        self.partial_loads += other.partial_loads;
        self.peer_loads += other.peer_loads;
        self.ahead_loads += other.ahead_loads;
        self.evictions += other.evictions;
        self.failed_loads += other.failed_loads;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.never_fits += other.never_fits;
        self.gone += other.gone;
        self.repartitions += other.repartitions;
        self.lost_devices += other.lost_devices;
        self.tampered += other.tampered;
    }
}

impl Tally {
    /// What every preset must have met over many seeds, and how little some of it was: names with counts of at most
    /// `least`.
    pub fn uncovered(&self, least: u64) -> Vec<(&'static str, u64)> {
        [
            ("runs", self.runs),
            ("cold runs", self.cold),
            ("evictions", self.evictions),
            ("failed loads", self.failed_loads),
            ("expired requests", self.expired),
            ("cancelled requests", self.cancelled),
            ("requests that never fit", self.never_fits),
            ("models gone", self.gone),
            ("lost devices", self.lost_devices),
        ]
        .into_iter()
        .filter(|&(_, count)| count <= least)
        .collect()
    }
}
