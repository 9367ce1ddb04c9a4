//! The log of a simulation: every event with the commands that it led to, folded into one number.

use crate::observe::{Checked, Observe};
use sublet_sched::{Command, Event, EvictCause, RejectReason, Scheduler, Source};
use sublet_units::Time;

/// Folds a simulation into a number that repeats if and only if the simulation does, chance collisions aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log(u64);

impl Default for Log {
    fn default() -> Self {
        Log(0xcbf2_9ce4_8422_2325)
    }
}

impl Log {
    pub fn hash(self) -> u64 {
        self.0
    }

    fn fold(&mut self, words: &[u64]) {
        for &word in words {
            // FNV-1a's step over whole words, with the high bits brought down so that they count too.
            let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = mixed ^ (mixed >> 29);
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::DeviceAdded { device, spec } => self.fold(&[
                1,
                device.0.into(),
                spec.page_bytes.0,
                spec.pages.into(),
                spec.lanes.into(),
                spec.link_rate,
            ]),
            Event::DeviceLost { device } => self.fold(&[2, device.0.into()]),
            Event::ModelAdded { model, spec } => {
                self.fold(&[3, model.0.into(), spec.segments.len() as u64, spec.pinned.into()]);
                for bytes in &spec.segments {
                    self.fold(&[bytes.0]);
                }
            }
            Event::ModelRemoved { model } => self.fold(&[4, model.0.into()]),
            Event::Arrived(request) => self.fold(&[
                5,
                request.id.0,
                request.model.0.into(),
                request.key.0,
                request.rows.into(),
                request.deadline.map_or(u64::MAX, |time| time.0),
                request.expires.map_or(u64::MAX, |time| time.0),
                request.priority.into(),
            ]),
            Event::Cancelled { request } => self.fold(&[6, request.0]),
            Event::Loaded { device, load, segment } => {
                self.fold(&[7, device.0.into(), load.0, (*segment).into()]);
            }
            Event::LoadFailed { device, load, fatal } => {
                self.fold(&[8, device.0.into(), load.0, (*fatal).into()]);
            }
            Event::Finished { device, run, ok } => {
                self.fold(&[9, device.0.into(), run.0, (*ok).into()]);
            }
            Event::Wake => self.fold(&[10]),
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Load { device, load, model, segments, pages, source } => {
                let (start, end) = (segments.start.into(), segments.end.into());
                let source = match source {
                    Source::Host => u64::MAX,
                    Source::Peer(device) => device.0.into(),
                };
                self.fold(&[11, device.0.into(), load.0, model.0.into(), start, end, source]);
                for page in pages {
                    self.fold(&[page.0.into()]);
                }
            }
            Command::Run { device, lane, run, model, requests, cold } => {
                let lane = lane.0.into();
                self.fold(&[12, device.0.into(), lane, run.0, model.0.into(), (*cold).into()]);
                for request in requests {
                    self.fold(&[request.0]);
                }
            }
            Command::Evict { device, model, segments, cause } => {
                let (start, end) = (segments.start.into(), segments.end.into());
                let cause = match cause {
                    EvictCause::Room => 1,
                    EvictCause::Removed => 2,
                    EvictCause::LoadFailed => 3,
                };
                self.fold(&[13, device.0.into(), model.0.into(), start, end, cause]);
            }
            Command::Reject { request, reason } => {
                let reason = match reason {
                    RejectReason::NoModel => 1,
                    RejectReason::NeverFits => 2,
                    RejectReason::QueueFull => 3,
                    RejectReason::Expired => 4,
                    RejectReason::Cancelled => 5,
                    RejectReason::LoadFailed => 6,
                    RejectReason::NoDevice => 7,
                    RejectReason::TooLate => 8,
                };
                self.fold(&[14, request.0, reason]);
            }
            Command::ModelGone { model } => self.fold(&[15, model.0.into()]),
            Command::Repartition { device, shares } => {
                self.fold(&[16, device.0.into(), shares.len() as u64]);
                for &share in shares {
                    self.fold(&[share.into()]);
                }
            }
        }
    }
}

impl Observe for Log {
    const WATCHES: bool = true;

    fn stepped(
        &mut self,
        now: Time,
        event: &Event,
        commands: &[Command],
        _: &Scheduler,
    ) -> Checked {
        self.fold(&[now.0]);
        self.event(event);
        self.fold(&[commands.len() as u64]);
        for command in commands {
            self.command(command);
        }
        Ok(())
    }
}
