//! Broken schedulers and machines, which the checker must notice.

use crate::observe::{Checked, Observe};
use std::collections::BTreeMap;
use sublet_sched::{Command, Event, EvictCause, RejectReason};
use sublet_units::{ModelId, Time};

/// What a broken scheduler does to its own commands, or a broken machine with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    EvictBusy,
    SwallowLoad,
    AnswerTwice,
    SwallowReject,
    SwallowRun,
    SharePages,
    GoneTwice,
    /// The machine lets runs end before their weights have arrived.
    Haste,
}

impl Fault {
    /// Every fault, with the words of which one must be in the checker's objection.
    pub const CASES: [(Fault, &[&str]); 8] = [
        (Fault::EvictBusy, &["in use"]),
        (
            Fault::SwallowLoad,
            &[
                "made room for nobody",
                "without its weights",
                "never ended",
                "in flight",
                "no end",
                "NeverFits",
            ],
        ),
        (Fault::AnswerTwice, &["while it runs"]),
        (Fault::SwallowReject, &["queue's length"]),
        (Fault::SwallowRun, &["queue's length"]),
        (Fault::SharePages, &["has it"]),
        (Fault::GoneTwice, &["goes twice"]),
        (Fault::Haste, &["before its weights have arrived"]),
    ];
}

/// Breaks one kind of command in the calm phase: in the one with faults, a lost device may hide what was done.
#[derive(Debug)]
pub struct Canary {
    fault: Fault,
    is_awake: bool,
    /// Segments of each model.
    segments: BTreeMap<ModelId, u32>,
    tampered: u64,
}

impl Canary {
    pub fn new(fault: Fault) -> Self {
        Canary { fault, is_awake: false, segments: BTreeMap::new(), tampered: 0 }
    }

    pub(super) fn wake(&mut self) {
        self.is_awake = true;
    }

    pub(super) fn tampered(&self) -> u64 {
        self.tampered
    }
}

impl Observe for Canary {
    const WATCHES: bool = true;

    fn event(&mut self, _: Time, event: &Event) -> Checked {
        if let Event::ModelAdded { model, spec } = event {
            self.segments.insert(*model, spec.segments.len() as u32);
        }
        Ok(())
    }

    fn tamper(&mut self, commands: &mut Vec<Command>) {
        let find = |kind: fn(&Command) -> bool| commands.iter().position(kind);
        let at = match self.fault {
            _ if !self.is_awake => None,
            Fault::None | Fault::Haste => None,
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
                let segments = 0..self.segments[&model];
                let cause = EvictCause::Room;
                commands.insert(at + 1, Command::Evict { device, model, segments, cause });
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
                let Command::Load { pages, .. } = &mut commands[at] else { return };
                let (Some(&first), true) = (pages.first(), pages.len() > 1) else { return };
                *pages.last_mut().expect("several pages") = first;
            }
            _ => return,
        }
        self.tampered += 1;
    }
}
