//! Further copies of models that one device cannot serve soon enough.

use crate::command::Command;
use crate::placing::{CONSIDERED, SCOPE};
use crate::policy::{Candidate, Urgency};
use crate::scheduler::Scheduler;
use crate::victims::Reach;
use sublet_units::{DeviceId, ModelId, Time};

/// How long a device's least worth is taken to stay as it was.
const REMEMBERED: Time = Time::from_millis(100);

impl Scheduler {
    /// Loads further copies of models whose waiting requests would be done earlier with one. `grown`: a model whose queue
    /// has just grown; the others are looked at only when something else has changed.
    pub(crate) fn place_spreading(&mut self, grown: Option<ModelId>, out: &mut Vec<Command>) {
        if std::mem::take(&mut self.respread) && !self.spreading.is_empty() {
            let mut spreading = std::mem::take(&mut self.spreading);
            spreading.retain(|&id| self.still_spreads(id));
            let mut first: Vec<(Urgency, ModelId)> =
                spreading.iter().filter_map(|&id| Some((self.front(id)?.urgency, id))).collect();
            self.spreading = spreading;
            first.sort_unstable();
            for (_, id) in first.into_iter().take(CONSIDERED) {
                self.spread(id, true, out);
            }
        }
        if let Some(id) = grown {
            self.spread(id, false, out);
        }
    }

    fn still_spreads(&mut self, id: ModelId) -> bool {
        let Some(model) = self.models.get_mut(id) else { return false };
        model.indexed.spreading = model.indexed.spreads;
        model.indexed.spreads
    }

    /// `changed`: something else than the model's queue has changed.
    fn spread(&mut self, id: ModelId, changed: bool, out: &mut Vec<Command>) {
        let Some(model) = self.models.get(id).filter(|model| model.indexed.spreads) else { return };
        let (until, known) = (model.indexed.spread_until, model.indexed.spread_copy);
        if self.now < model.indexed.spread_after {
            return;
        }
        let stay = self.stay(id);
        if !changed && self.now < until && stay <= known {
            return;
        }
        let mut scope = self.look_round();
        scope.truncate(SCOPE);
        let urgency = self.front(id).expect("a model that spreads has work").urgency;
        let options = self.load_options(id, urgency, Reach::Idle, &scope);
        let copy = options.iter().map(|option| option.finish).min();
        let model = &mut self.models[id];
        if !copy.is_some_and(|copy| self.config.policy.placement.spreads(stay, copy)) {
            // Until the queue has grown by as much, or a copy's time has passed, the answer stays.
            let copy = copy.unwrap_or(stay.saturating_add(self.config.run_guess));
            model.indexed.spread_copy = copy;
            model.indexed.spread_until = self.now.saturating_add(copy);
            return;
        }
        let worth = self.worth_of_copy(id);
        let mut found =
            match options.iter().any(|option| self.may_give_way(option.device, id, worth)) {
                true => self.place(id, urgency, Reach::IdleBelow(worth), &scope),
                false => None,
            };
        if found.is_none() && self.wanting.is_empty() {
            // Nobody else waits for a link: then what is gained may cost as much.
            let gain = stay.saturating_sub(copy.unwrap_or(stay));
            found = self.place(id, urgency, Reach::IdleFor(gain), &scope);
        }
        if let Some((option, victims)) = found {
            self.make_room(option.device, victims, out);
            self.load(option.device, id, option.source, out);
        } else if self.config.policy.placement.choose(id, &options).is_some() {
            // All who could make room are worth more, and will be for a while.
            self.models[id].indexed.spread_after = self.now.saturating_add(stay);
            for option in &options {
                self.look_for_least(option.device);
            }
        }
    }

    /// Whether a device may have room for a model among what is worth less than so much.
    fn may_give_way(&self, device_id: DeviceId, id: ModelId, worth: u64) -> bool {
        let device = &self.devices[device_id];
        let (least, until) = device.least;
        self.now >= until || least < worth || self.shortage(device_id, device, id) == 0
    }

    /// Remembers for a while what the least worthy idle model of a device is worth.
    fn look_for_least(&mut self, device_id: DeviceId) {
        let device = &self.devices[device_id];
        if self.now < device.least.1 {
            return;
        }
        let is_idle = |&other: &ModelId| {
            let place = self.models[other].places.get(device_id);
            let candidacy = place.and_then(|place| place.candidacy);
            candidacy.is_some_and(|candidacy| candidacy.queued.is_none())
        };
        let worths = device.tenants.iter().copied().filter(is_idle);
        let least = worths.map(|other| self.worth_on(device_id, other)).min().unwrap_or(u64::MAX);
        self.devices[device_id].least = (least, self.now.saturating_add(REMEMBERED));
    }

    /// From now until what waits for a model could have run where it is, or is coming to.
    pub(crate) fn stay(&self, id: ModelId) -> Time {
        let wait = |(device_id, place): &(_, crate::model::Place)| {
            let device = &self.devices[*device_id];
            let backlog = device.backlog(self.now);
            match place.load {
                Some(_) => backlog.max(device.arrival(self.now, id)),
                None => backlog,
            }
        };
        self.models[id].places.usable().map(wait).min().unwrap_or(Time::MAX)
    }

    /// From now until a model could have been brought to some device.
    pub(crate) fn earliest_copy(&self, id: ModelId) -> Time {
        let arrival = |(device_id, device): (_, &crate::device::Device)| {
            self.source(device_id, id).1.max(device.backlog(self.now))
        };
        self.devices.iter().map(arrival).min().unwrap_or(Time::MAX)
    }

    /// What a further copy of a model would be worth.
    pub(crate) fn worth_of_copy(&self, id: ModelId) -> u64 {
        let model = &self.models[id];
        let fastest = self.fastest.map(|device| &self.devices[device].host.rate);
        self.config.policy.eviction.worth(&Candidate {
            resident: model.bytes,
            reload: fastest.map_or(Time::ZERO, |rate| rate.time(model.bytes)),
            last_used: model.last_used,
            uses: model.uses.at(self.now, self.config.use_half_life),
            copies: model.places.usable().count() as u32 + 1,
            run: model.run_times.predict(1),
            is_there: false,
        })
    }
}
