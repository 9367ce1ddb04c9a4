//! Loading ahead: models that are asked regularly come back before somebody waits for them.

use crate::command::Command;
use crate::model::{Model, Place};
use crate::policy::Urgency;
use crate::scheduler::Scheduler;
use crate::victims::Reach;
use sublet_units::{Bytes, DeviceId, ModelId, Time};

/// So many models are considered at a time.
const CONSIDERED: usize = 16;

/// Loads ahead go after all that somebody waits for.
pub(crate) const AHEAD: Urgency = Urgency { class: u32::MAX, when: Time::MAX };

/// Models that are nowhere and will soon be asked again.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    models: Vec<ModelId>,
    /// Something has changed that may allow to load one of them.
    look: bool,
}

impl Ahead {
    pub fn remember(&mut self, model: ModelId) {
        if self.models.len() < CONSIDERED && !self.models.contains(&model) {
            self.models.push(model);
            self.look = true;
        }
    }

    pub fn forget(&mut self, model: ModelId) {
        self.models.retain(|&known| known != model);
    }

    /// A link or a model has become idle, or memory free.
    pub fn look(&mut self) {
        self.look = true;
    }
}

impl Scheduler {
    /// Starts the load of one model that nobody waits for yet, where a link is idle that nobody waits for either, and
    /// what makes room is worth less: the one that will be asked first.
    pub(crate) fn load_ahead(&mut self, out: &mut Vec<Command>) {
        if self.ahead.models.is_empty()
            || !self.ahead.look
            || !self.wanting.is_empty()
            || !self.spreading.is_empty()
        {
            return;
        }
        self.ahead.look = false;
        let mut devices = self.look_about();
        devices.retain(|&id| self.has_idle_link(id));
        if devices.is_empty() {
            return;
        }
        let mut due = std::mem::take(&mut self.ahead.models);
        due.retain(|&id| self.models.contains(id) && self.is_due_ahead(id));
        due.sort_by_key(|&id| (self.models[id].rhythm.soonest(self.now), id));
        for at in 0..due.len() {
            let id = due[at];
            let reach = Reach::IdleBelow(self.worth_of_copy(id));
            if let Some((option, victims)) = self.place(id, AHEAD, reach, &devices) {
                due.remove(at);
                self.make_room(option.device, victims, out);
                self.load(option.device, id, option.source, out);
                self.ahead.look = true;
                break;
            }
        }
        // Who has just made room may be due already.
        let added = std::mem::replace(&mut self.ahead.models, due);
        for id in added {
            self.ahead.remember(id);
        }
    }

    /// When a model that nobody waits for should be on its way, if it is nowhere and is asked regularly.
    pub(crate) fn ahead_at(&self, id: ModelId) -> Option<Time> {
        let model = &self.models[id];
        if !model.queue.is_empty()
            || !model.may_come_ahead()
            || !self.config.policy.placement.looks_ahead()
        {
            return None;
        }
        let fastest = self.fastest.map(|device| &self.devices[device].host.rate)?;
        let next = self.now.saturating_add(model.rhythm.soonest(self.now)?);
        Some(next.saturating_sub(fastest.time(model.bytes)))
    }

    /// Whether that time has come.
    fn is_due_ahead(&self, id: ModelId) -> bool {
        self.ahead_at(id).is_some_and(|at| at <= self.now)
    }

    /// Whether a load would slow no other on its way.
    fn has_idle_link(&self, id: DeviceId) -> bool {
        let device = &self.devices[id];
        device.loads().next().is_none() && self.neighbours(id, device).loading == Bytes::ZERO
    }
}

impl Model {
    /// Whether it is nowhere, although it could be.
    fn may_come_ahead(&self) -> bool {
        let is_there = |(_, place): &(DeviceId, Place)| place.is_usable() || place.is_busy();
        !self.places.iter().any(is_there)
            && !self.removed
            && !self.spec.pinned
            && self.hopeless.is_none()
            && self.failures == 0
            && self.avoid.is_none()
    }
}
