//! Loading ahead: models that gave way and will soon be asked again come back while links have nothing to do.

use crate::command::Command;
use crate::model::{Model, Place};
use crate::policy::Urgency;
use crate::scheduler::Scheduler;
use crate::victims::Reach;
use std::collections::VecDeque;
use sublet_units::{DeviceId, ModelId, Time};

/// So many models are remembered; of more, those that gave way last.
const REMEMBERED: usize = 8;

/// A model that found no room is tried again after this part of the time that its copy takes.
const AGAIN: u64 = 4;

/// Loads ahead go after all that somebody waits for.
pub(crate) const AHEAD: Urgency = Urgency { class: u32::MAX, when: Time::MAX };

/// Models that are nowhere and may be worth bringing back.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// With the time of the next try.
    models: VecDeque<(ModelId, Time)>,
    /// Something has changed that may make one of them worth it.
    look: bool,
}

impl Ahead {
    /// A model has given way, or will be asked soon.
    pub fn remember(&mut self, model: ModelId) {
        self.models.retain(|&(known, _)| known != model);
        self.models.push_front((model, Time::ZERO));
        self.models.truncate(REMEMBERED);
        self.look = true;
    }

    /// A link or a model has become idle.
    pub fn look(&mut self) {
        self.look = true;
    }
}

impl Scheduler {
    /// Starts the load of one model that nobody waits for yet, where a link is idle and what would make room is worth
    /// less.
    pub(crate) fn load_ahead(&mut self, out: &mut Vec<Command>) {
        if !std::mem::take(&mut self.ahead.look)
            || self.ahead.models.is_empty()
            || !self.wanting.is_empty()
        {
            return;
        }
        let mut idle = self.look_about();
        idle.retain(|&device| self.devices[device].loads().next().is_none());
        if idle.is_empty() {
            return;
        }
        let Scheduler { ahead, models, .. } = self;
        ahead.models.retain(|&(id, _)| models.get(id).is_some_and(Model::may_come_ahead));
        for at in 0..self.ahead.models.len() {
            let (id, again) = self.ahead.models[at];
            if self.now < again {
                continue;
            }
            let copy = self.copy_time(id);
            self.ahead.models[at].1 = self.now.saturating_add(Time(copy.0 / AGAIN));
            // Others make room only for what will be asked at a known time.
            let is_regular = self.models[id].rhythm.next_regular(self.now).is_some();
            if !is_regular && !idle.iter().any(|&device| self.has_room(device, id)) {
                continue;
            }
            let worth = if is_regular { self.worth_of_copy(id) } else { 0 };
            let options = self.load_options(id, AHEAD, Reach::IdleBelow(worth), &idle);
            if let Some((option, victims)) = self.choose(id, options, Reach::IdleBelow(worth)) {
                self.make_room(option.device, victims, out);
                self.load(option.device, id, option.source, out);
                self.ahead.look = true;
                return;
            }
        }
    }

    /// When a model that nobody waits for should be on its way, if it is nowhere and is asked regularly.
    pub(crate) fn ahead_at(&self, id: ModelId) -> Option<Time> {
        let model = &self.models[id];
        if !self.config.policy.placement.looks_ahead()
            || !model.queue.is_empty()
            || !model.may_come_ahead()
        {
            return None;
        }
        let next = model.rhythm.next_regular(self.now)?;
        Some(self.now.saturating_add(next).saturating_sub(self.copy_time(id)))
    }

    /// Whether that time has come.
    pub(crate) fn is_due_ahead(&self, id: ModelId) -> bool {
        self.models.contains(id) && self.ahead_at(id).is_some_and(|at| at <= self.now)
    }

    fn has_room(&self, device: DeviceId, id: ModelId) -> bool {
        let model = &self.models[id];
        self.devices[device].shortage(model, model.places.get(device)) == 0
    }

    /// What it takes to bring all of a model from the host, where the link is the fastest.
    pub(crate) fn copy_time(&self, id: ModelId) -> Time {
        let fastest = self.fastest.map(|device| &self.devices[device].host.rate);
        fastest.map_or(Time::ZERO, |rate| rate.time(self.models[id].bytes))
    }
}

impl Model {
    /// Whether it is nowhere, although it could be.
    fn may_come_ahead(&self) -> bool {
        let is_there = |(_, place): &(DeviceId, Place)| place.is_usable() || place.is_busy();
        !self.places.iter().any(is_there)
            && !self.removed
            && !self.spec.pinned
            && self.failures == 0
            && self.hopeless.is_none()
    }
}
