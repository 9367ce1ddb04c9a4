//! Which device takes a model.

use crate::claims::Wish;
use crate::command::{Command, EvictCause, Source};
use crate::device::Device;
use crate::model::Place;
use crate::policy::{LoadOption, Urgency};
use crate::scheduler::Scheduler;
use crate::victims::{Reach, Victims};
use sublet_units::{DeviceId, ModelId, Time};

/// How many of the most urgent models are considered in one step. Those behind must wait anyway while these find no
/// room, and a step stays short however many models wait.
pub(crate) const CONSIDERED: usize = 8;

/// How many devices are compared at once: of a thousand, some of these serve nearly as well as the best of all.
const SCOPE: usize = 32;

impl Scheduler {
    /// Starts loads for models with waiting requests that are nowhere, the most urgent first. One that is pressing and
    /// finds no room lays a claim on a device.
    pub(crate) fn place_wanting(&mut self, out: &mut Vec<Command>) {
        if !std::mem::take(&mut self.replan) {
            return;
        }
        for &device in &self.freed {
            self.devices[device].freed = false;
        }
        self.round += 1;
        if self.wanting.is_empty() {
            self.freed.clear();
            return;
        }
        let freed = std::mem::take(&mut self.freed);
        let mut wanting = [ModelId(0); CONSIDERED];
        let mut count = 0;
        for (at, (_, model)) in wanting.iter_mut().zip(self.wanting.iter()) {
            *at = model;
            count += 1;
        }
        if self.config.policy.order.gives_up() {
            self.set_back(&mut wanting[..count]);
            self.advance_late(&mut wanting[..count]);
        }
        self.try_again(&wanting[..count]);
        for &id in &wanting[..count] {
            self.place_wanted(id, &freed, out);
        }
    }

    /// Where a model is tried for the first time, those before it are tried again: a link may have come close enough to
    /// its end without an event, and is theirs first.
    fn try_again(&mut self, wanting: &[ModelId]) {
        let is_new = |id: &ModelId| self.models[*id].indexed.tried.is_none();
        let Some(last) = wanting.iter().rposition(is_new) else { return };
        let ends_soon = |device: &Device| {
            !device.host.loads.is_empty() && device.host.takes(self.now, self.config.loads_max)
        };
        if last > 0 && self.devices.values().any(ends_soon) {
            for &id in &wanting[..last] {
                self.models[id].indexed.tried = None;
            }
        }
    }

    /// Of models in order of urgency, where not all that are equal in class would be in time if they were loaded one after
    /// the other, sets back those for which the fewest rows wait for each second of loading (after Moore and Hodgson).
    fn set_back(&self, wanting: &mut [ModelId]) {
        let class = |&id: &ModelId| self.front(id).map(|front| front.urgency.class);
        let starved = wanting.iter().take_while(|id| class(id) == Some(0)).count();
        let Some(first) = wanting.get(starved).and_then(class) else { return };
        let equal = wanting[starved..].iter().take_while(|id| class(id) == Some(first)).count();
        let is_late = self.front(wanting[starved]).is_none_or(|front| front.late);
        let Some(rate) = self.fastest.map(|device| &self.devices[device].host.rate) else { return };
        if equal < 2 || is_late {
            return;
        }
        let links = self.devices.len() as u64;
        let load = |id: ModelId| Time(rate.time(self.models[id].bytes).0 / links);
        // What would be late even alone, and keeps its turn all the same.
        let is_past = |id: ModelId| {
            let alone = self.now.saturating_add(load(id)).saturating_add(self.run_time(id));
            self.front(id).is_some_and(|front| alone > self.models[id].queue.due(front.first))
        };
        let (ahead, rest) = wanting.split_at_mut(starved);
        let rest = &mut rest[..equal];
        let mut end = self.now;
        for &id in ahead.iter() {
            end = end.saturating_add(load(id));
        }
        // Those that are kept lie in front, then those that are set back, then those not yet looked at.
        let (mut kept, mut back) = (0, 0);
        while kept + back < rest.len() {
            rest[kept..=kept + back].rotate_right(1);
            let id = rest[kept];
            kept += 1;
            end = end.saturating_add(load(id));
            let due =
                self.front(id).map_or(Time::MAX, |front| self.models[id].queue.due(front.first));
            if end.saturating_add(self.run_time(id)) <= due || is_past(id) {
                continue;
            }
            let gain = |&at: &usize| {
                let rows = self.models[rest[at]].queue.len() as u128;
                rows * 1_000_000_000 / u128::from(load(rest[at]).0.max(1))
            };
            let least = (0..kept).rev().filter(|&at| !is_past(rest[at])).min_by_key(gain);
            let least = least.expect("one was just kept");
            end = end.saturating_sub(load(rest[least]));
            rest[least..kept + back].rotate_left(1);
            kept -= 1;
            back += 1;
        }
    }

    /// Of models in order of urgency, puts those whose requests are late before those whose are not, as long as these
    /// would still be in time if all were loaded one after the other: waiting longer would serve nobody.
    fn advance_late(&self, wanting: &mut [ModelId]) {
        let is_late = |&id: &ModelId| self.front(id).is_some_and(|front| front.late);
        let Some(first) = wanting.iter().position(is_late).filter(|&first| first > 0) else {
            return;
        };
        let Some(rate) = self.fastest.map(|device| &self.devices[device].host.rate) else { return };
        let links = self.devices.len() as u64;
        let load = |id: ModelId| Time(rate.time(self.models[id].bytes).0 / links);
        for (ahead, at) in (first..wanting.len()).enumerate() {
            let mut end = self.now.saturating_add(load(wanting[at]));
            let stays_in_time = |&id: &ModelId| {
                end = end.saturating_add(load(id));
                let model = &self.models[id];
                self.front(id).is_none_or(|front| {
                    front.late
                        || end.saturating_add(self.run_time(id)) <= model.queue.due(front.first)
                })
            };
            if !wanting[..at].iter().all(stays_in_time) {
                return;
            }
            wanting[ahead..=at].rotate_right(1);
        }
    }

    fn place_wanted(&mut self, id: ModelId, freed: &[DeviceId], out: &mut Vec<Command>) {
        // A pinned model's load may have ended what others waited for.
        let Some(urgency) = self.models.get(id).and_then(|model| model.indexed.wanting) else {
            return;
        };
        let presses = self.front(id).is_some_and(|front| front.pressing_at <= self.now);
        let reach = if presses { Reach::LessUrgent(urgency) } else { Reach::Idle };
        // Of a model that was not among the first last time, nobody knows what was freed since it was.
        let tried = self.models[id].indexed.tried.replace(self.round);
        let tried = tried.is_some_and(|round| round + 1 >= self.round);
        let all;
        let scope = match tried {
            true => freed,
            false => {
                all = self.look_round();
                &all
            }
        };
        if scope.is_empty() {
            return;
        }
        let mut parts = scope.chunks(SCOPE);
        let found = parts.find_map(|part| self.place(id, urgency, reach, part));
        if let Some((option, victims)) = found {
            self.make_room(option.device, victims, out);
            self.load(option.device, id, option.source, out);
        } else if presses {
            self.lay_claim(Wish { model: id, urgency }, scope);
        } else {
            self.drop_claim(id);
        }
    }

    /// All devices, from another one on each time.
    fn look_round(&mut self) -> Vec<DeviceId> {
        let from = self.look_on();
        let devices = self.devices.ids();
        [&devices[from..], &devices[..from]].concat()
    }

    /// The first of these.
    pub(crate) fn look_about(&mut self) -> Vec<DeviceId> {
        let from = self.look_on();
        let devices = self.devices.ids();
        devices[from..].iter().chain(&devices[..from]).copied().take(SCOPE).collect()
    }

    fn look_on(&mut self) -> usize {
        if self.devices.len() > SCOPE {
            self.looked = (self.looked + SCOPE) % self.devices.len();
            self.looked
        } else {
            0
        }
    }

    pub(crate) fn make_room(&mut self, device: DeviceId, victims: Victims, out: &mut Vec<Command>) {
        for (victim, segments) in victims {
            self.evict(device, victim, segments, EvictCause::Room, out);
            self.refresh(victim);
        }
    }

    /// Picks a device that can take a model at once, and who must make room for it there.
    pub(crate) fn place(
        &self,
        id: ModelId,
        urgency: Urgency,
        reach: Reach,
        scope: &[DeviceId],
    ) -> Option<(LoadOption, Victims)> {
        let options = self.load_options(id, urgency, reach, scope);
        self.choose(id, options, reach)
    }

    /// Picks the best of some devices where enough others make room.
    pub(crate) fn choose(
        &self,
        id: ModelId,
        mut options: Vec<LoadOption>,
        reach: Reach,
    ) -> Option<(LoadOption, Victims)> {
        while !options.is_empty() {
            let at = self.config.policy.placement.choose(id, &options)?;
            let option = options[at];
            if let Some(victims) = self.victims(option.device, id, reach) {
                return Some((option, victims));
            }
            options.remove(at);
        }
        None
    }

    /// Devices that could take a model now, as far as page counts tell.
    pub(crate) fn load_options(
        &self,
        id: ModelId,
        urgency: Urgency,
        reach: Reach,
        scope: &[DeviceId],
    ) -> Vec<LoadOption> {
        let mut options = Vec::new();
        let model = &self.models[id];
        let run = self.run_time(id);
        for &device_id in scope {
            let device = &self.devices[device_id];
            let place = model.places.get(device_id);
            if !self.may_load(device_id, device, id, urgency) {
                continue;
            }
            let shortage = device.shortage(model, place);
            let mut room = device.idle_pages;
            if matches!(reach, Reach::LessUrgent(_)) {
                room += device.queued_pages;
            }
            if shortage > room {
                continue;
            }
            let neighbours = self.neighbours(device_id, device);
            let (source, arrival) = self.source(device_id, device, model, &neighbours);
            if source == Source::Host && !device.host.takes(self.now, self.config.loads_max) {
                continue;
            }
            let backlog = device.backlog(self.now);
            let is_first = device.startable.first().is_none_or(|(first, _)| urgency < first);
            options.push(LoadOption {
                device: device_id,
                source,
                finish: arrival.max(backlog).saturating_add(run),
                free_pages: device.ledger.free(),
                regret: device.host.rate.time(device.spec.page_bytes * u64::from(shortage)),
                idle: device.has_idle_lane() && is_first,
                neighbours,
            });
        }
        let avoid = model.avoid;
        if options.iter().any(|option| Some(option.device) != avoid) {
            options.retain(|option| Some(option.device) != avoid);
        }
        options
    }

    /// Whether a model lacks weights on a device and may be loaded there now, if there is room.
    pub(crate) fn may_load(
        &self,
        device_id: DeviceId,
        device: &Device,
        id: ModelId,
        urgency: Urgency,
    ) -> bool {
        let model = &self.models[id];
        let is_there = |place: &Place| place.whole || place.is_busy();
        let loads_max = self.config.loads_max;
        let takes_peers = self.config.copies_peers && device.peer.takes(self.now, loads_max);
        (device.host.takes(self.now, loads_max) || takes_peers)
            // Of equals the first in the ranking, or the claim of one far behind would keep all before it from loading.
            && device
                .claim
                .as_ref()
                .is_none_or(|claim| claim.model == id || (urgency, id) < (claim.urgency, claim.model))
            && model.may_go_to(device_id)
            && !model.places.get(device_id).is_some_and(is_there)
            && self.suits(device_id, id)
    }

    /// Whether the policy would have a model on a device, if it has models in fixed places.
    fn suits(&self, device_id: DeviceId, id: ModelId) -> bool {
        let placement = &self.config.policy.placement;
        if !placement.is_fixed() {
            return true;
        }
        let model = &self.models[id];
        let could = |(device_id, device): &(DeviceId, &Device)| {
            model.may_go_to(*device_id) && device.could_hold(*device_id, model)
        };
        let devices: Vec<DeviceId> = self.devices.iter().filter(could).map(|(id, _)| id).collect();
        let home = placement.home(id, devices.len());
        devices.get(home) == Some(&device_id)
    }

    pub(crate) fn run_time(&self, id: ModelId) -> Time {
        let model = &self.models[id];
        let first = model.queue.most_urgent();
        let rows = first.map_or(1, |(first, _)| model.queue.batch_rows(first));
        model.run_times.predict(rows).unwrap_or(self.config.run_guess)
    }
}
