//! Which device takes a model, and which models make room for it.

use crate::command::{Command, EvictCause};
use crate::device::{Candidacy, Claim, Device};
use crate::model::Place;
use crate::policy::{Candidate, LoadOption, Urgency};
use crate::scheduler::Scheduler;
use std::ops::Range;
use sublet_units::{Bytes, DeviceId, ModelId, Time};

/// How many of the most urgent models are considered in one step. Those behind must wait anyway while these find no
/// room, and a step stays short however many models wait.
const CONSIDERED: usize = 8;

/// What a load may take memory from.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// Models that nobody waits for.
    Idle,
    /// Models that nobody waits for and that are worth less than this.
    IdleBelow(u64),
    /// Also models with less urgent waiting requests.
    LessUrgent(Urgency),
}

/// Tail segments to evict.
type Victims = Vec<(ModelId, Range<u32>)>;

impl Scheduler {
    /// Starts loads for models with waiting requests that are nowhere, the most urgent first. One that is pressing and
    /// finds no room lays a claim on a device.
    pub(crate) fn place_wanting(&mut self, out: &mut Vec<Command>) {
        let may_load = self.devices.values().any(|device| self.takes_loads(device));
        if !may_load || !std::mem::take(&mut self.replan) {
            return;
        }
        let claims = self.drop_claims();
        let wanting: Vec<ModelId> =
            self.wanting.iter().take(CONSIDERED).map(|&(_, model)| model).collect();
        for id in wanting {
            // A pinned model's load may have ended what others waited for.
            let Some(front) = self.front(id) else { continue };
            let presses = front.pressing_at <= self.now;
            let reach = if presses { Reach::LessUrgent(front.urgency) } else { Reach::Idle };
            if let Some((device, victims)) = self.place(id, reach) {
                self.make_room(device, victims, out);
                self.load(device, id, out);
            } else if presses {
                let before = claims.iter().find(|&&(model, _)| model == id).map(|&(_, at)| at);
                self.lay_claim(id, front.urgency, before);
            }
        }
    }

    /// Loads further copies of models whose waiting requests would be done earlier with one. `grown`: a model whose queue
    /// has just grown; the others are looked at only when something else has changed.
    pub(crate) fn place_spreading(&mut self, grown: Option<ModelId>, out: &mut Vec<Command>) {
        let considered = if std::mem::take(&mut self.respread) { CONSIDERED } else { 0 };
        let mut spreading: Vec<ModelId> =
            self.spreading.iter().take(considered).map(|&(_, model)| model).collect();
        spreading.extend(grown.filter(|model| !spreading.contains(model)));
        for id in spreading {
            self.spread(id, out);
        }
    }

    fn spread(&mut self, id: ModelId, out: &mut Vec<Command>) {
        if self.models.get(&id).is_none_or(|model| model.indexed.spreading.is_none()) {
            return;
        }
        let stay = self.stay(id);
        let bytes = self.models[&id].bytes;
        let load_time = self.load_time(bytes);
        let options = self.load_options(id, Reach::Idle);
        let Some(copy) = options.iter().map(|option| option.finish).min() else { return };
        if !self.config.policy.placement.spreads(stay, copy) {
            return;
        }
        let worth = self.worth(id, bytes, load_time);
        if let Some((device, victims)) = self.place(id, Reach::IdleBelow(worth)) {
            self.make_room(device, victims, out);
            self.load(device, id, out);
        }
    }

    fn make_room(&mut self, device: DeviceId, victims: Victims, out: &mut Vec<Command>) {
        for (victim, segments) in victims {
            self.evict(device, victim, segments, EvictCause::Room, out);
            self.refresh(victim);
        }
    }

    /// Picks a device that can take a model at once, and who must make room for it there.
    fn place(&self, id: ModelId, reach: Reach) -> Option<(DeviceId, Victims)> {
        let mut options = self.load_options(id, reach);
        while !options.is_empty() {
            let at = self.config.policy.placement.choose(&options);
            let device = options[at].device;
            if let Some(victims) = self.victims(device, id, reach) {
                return Some((device, victims));
            }
            options.remove(at);
        }
        None
    }

    /// Devices that could take a model now, as far as page counts tell.
    fn load_options(&self, id: ModelId, reach: Reach) -> Vec<LoadOption> {
        let mut options = Vec::new();
        for (&device_id, device) in &self.devices {
            if !self.may_load(device_id, device, id) {
                continue;
            }
            let shortage = self.shortage(device, id);
            let mut room = device.evictable.idle_pages;
            if matches!(reach, Reach::LessUrgent(_)) {
                room += device.evictable.queued_pages;
            }
            if shortage <= room {
                options.push(LoadOption {
                    device: device_id,
                    finish: self.finish_after_load(device, id),
                    free_pages: device.ledger.free(),
                    regret: device.link.time(device.spec.page_bytes * u64::from(shortage)),
                });
            }
        }
        let avoid = self.models[&id].avoid;
        if options.iter().any(|option| Some(option.device) != avoid) {
            options.retain(|option| Some(option.device) != avoid);
        }
        options
    }

    /// Whether a device's link takes one more load.
    fn takes_loads(&self, device: &Device) -> bool {
        device.loads.len() < self.config.loads_max
    }

    /// Whether a model lacks weights on a device and may be loaded there now, if there is room.
    fn may_load(&self, device_id: DeviceId, device: &Device, id: ModelId) -> bool {
        let model = &self.models[&id];
        let is_there = |place: &Place| place.whole || place.is_busy();
        self.takes_loads(device)
            && device.claim.as_ref().is_none_or(|claim| claim.model == id)
            && !model.banned.contains(&device_id)
            && !model.places.get(&device_id).is_some_and(is_there)
    }

    /// Pages that must be evicted before a model can be loaded.
    fn shortage(&self, device: &Device, id: ModelId) -> u32 {
        let resident = device.ledger.resident(id) as usize;
        let missing = device.pages_of(&self.models[&id].spec.segments, resident);
        missing.saturating_sub(device.ledger.free())
    }

    /// From now until a model's first run on a device could have ended, were it loaded there.
    fn finish_after_load(&self, device: &Device, id: ModelId) -> Time {
        let model = &self.models[&id];
        let copy = device.link.time(model.bytes_from(device.ledger.resident(id)));
        let arrival = device.link_wait(self.now, None).saturating_add(copy);
        arrival.max(device.backlog(self.now)).saturating_add(self.run_time(id))
    }

    /// From now until what waits for a model could have run where it is, or is coming to.
    fn stay(&self, id: ModelId) -> Time {
        let places = self.models[&id].places.iter().filter(|(_, place)| place.is_usable());
        let wait = |(device_id, place): (&DeviceId, &Place)| {
            let device = &self.devices[device_id];
            let backlog = device.backlog(self.now);
            match place.load {
                Some(_) => backlog.max(device.link_wait(self.now, Some(id))),
                None => backlog,
            }
        };
        places.map(wait).min().unwrap_or(Time::MAX)
    }

    fn run_time(&self, id: ModelId) -> Time {
        let model = &self.models[&id];
        let first = model.queue.most_urgent();
        let rows = first.map_or(1, |(ticket, _)| model.queue.batch_rows(ticket));
        model.run_times.predict(rows).unwrap_or(self.config.run_guess)
    }

    fn worth(&self, id: ModelId, resident: Bytes, reload: Time) -> u64 {
        let model = &self.models[&id];
        self.config.policy.eviction.worth(&Candidate {
            resident,
            reload,
            last_used: model.last_used,
            uses: model.uses.at(self.now, self.config.use_half_life),
        })
    }

    fn worth_on(&self, device: &Device, id: ModelId) -> u64 {
        let resident = device.ledger.resident(id) as usize;
        let bytes = self.models[&id].spec.segments[..resident].iter().copied().sum();
        self.worth(id, bytes, device.link.time(bytes))
    }

    /// Who makes room for a model on a device: enough, or nobody.
    ///
    /// Models that nobody waits for go before the others, the least worth first. Where leading segments can stay, they
    /// do, those of the most worth first.
    fn victims(&self, device_id: DeviceId, id: ModelId, reach: Reach) -> Option<Victims> {
        let device = &self.devices[&device_id];
        let shortage = self.shortage(device, id);
        if shortage == 0 {
            return Some(Victims::new());
        }
        let mut candidates: Vec<(bool, u64, ModelId, u32)> = Vec::new();
        for (other, Candidacy { pages, queued }) in device.evictable.iter() {
            let worth = self.worth_on(device, other);
            let is_in_reach = match (queued, reach) {
                (None, Reach::IdleBelow(limit)) => worth < limit,
                (None, _) => true,
                (Some(theirs), Reach::LessUrgent(ours)) => {
                    self.yields(device_id, other, theirs, ours)
                }
                (Some(_), _) => false,
            };
            if other != id && is_in_reach {
                candidates.push((queued.is_some(), worth, other, pages));
            }
        }
        candidates.sort_unstable();
        let mut taken = 0;
        let needed = candidates.iter().position(|&(.., pages)| {
            taken += pages;
            taken >= shortage
        })?;
        candidates.truncate(needed + 1);

        let mut surplus = taken - shortage;
        let mut victims = Victims::new();
        for &(.., victim, pages) in candidates.iter().rev() {
            let held = device.ledger.residency(victim).expect("a candidate holds pages");
            let mut from = 0;
            if pages <= surplus {
                surplus -= pages;
                continue;
            }
            if self.config.policy.eviction.partial() {
                while held.segment_pages(from).len() as u32 <= surplus {
                    surplus -= held.segment_pages(from).len() as u32;
                    from += 1;
                }
            }
            victims.push((victim, from..held.resident()));
        }
        victims.reverse();
        Some(victims)
    }

    /// Whether a model with waiting requests gives up its place for more urgent ones.
    fn yields(&self, device: DeviceId, id: ModelId, theirs: Urgency, ours: Urgency) -> bool {
        let is_spared = self.now < self.models[&id].places[&device].spared_until;
        ours < theirs && (ours.class == 0 || !is_spared)
    }

    /// Takes all claims back, so that they are laid anew in order of urgency.
    fn drop_claims(&mut self) -> Vec<(ModelId, DeviceId)> {
        let mut claims = Vec::new();
        for (&id, device) in &mut self.devices {
            if let Some(claim) = device.claim.take() {
                claims.push((claim.model, id));
                self.open.insert(id);
            }
        }
        claims
    }

    /// Keeps models that are busy, and less urgent, from starting again on one device, so that their pages become free
    /// for this one. `before`: the device that it had a claim on.
    fn lay_claim(&mut self, id: ModelId, urgency: Urgency, before: Option<DeviceId>) {
        let mut devices: Vec<(bool, Time, DeviceId)> = Vec::new();
        for (&device_id, device) in &self.devices {
            if device.claim.is_none()
                && self.may_load(device_id, device, id)
                && self.fits(device_id, id)
            {
                let finish = self.finish_after_load(device, id);
                devices.push((Some(device_id) != before, finish, device_id));
            }
        }
        devices.sort_unstable();
        for (_, _, device_id) in devices {
            if let Some(claim) = self.claim_on(device_id, id, urgency) {
                self.devices.get_mut(&device_id).expect("a listed device").claim = Some(claim);
                return;
            }
        }
    }

    /// The fewest models to hold so that, once they are idle, a model finds room on a device.
    fn claim_on(&self, device_id: DeviceId, id: ModelId, urgency: Urgency) -> Option<Claim> {
        let device = &self.devices[&device_id];
        let mut candidates = Vec::new();
        for (other, held) in device.ledger.models() {
            let model = &self.models[&other];
            let yields = match self.front(other) {
                Some(front) => self.yields(device_id, other, front.urgency, urgency),
                None => true,
            };
            if other != id && yields && (!model.spec.pinned || model.removed) {
                let is_busy = model.places[&device_id].is_busy();
                let waits = !model.queue.is_empty();
                let worth = self.worth_on(device, other);
                candidates.push((is_busy, waits, worth, other, held.pages()));
            }
        }
        candidates.sort_unstable();
        let shortage = self.shortage(device, id);
        let mut room = 0;
        let last = candidates.iter().position(|&(.., pages)| {
            room += pages;
            room >= shortage
        })?;
        let held = candidates[..=last].iter().map(|&(.., other, _)| other).collect();
        Some(Claim { model: id, urgency, held })
    }
}
