//! Further copies of models that one device cannot serve soon enough.

use crate::command::Command;
use crate::model::Place;
use crate::placing::CONSIDERED;
use crate::policy::{Candidate, LoadOption};
use crate::scheduler::Scheduler;
use crate::victims::Reach;
use sublet_units::{DeviceId, ModelId, Time};

/// How long a device's models are taken to be worth what they were. What is asked regularly may be worth several times as
/// much or as little meanwhile; a search for room then finds none, or is not made.
const REMEMBERED: Time = Time::from_millis(500);

/// Waiting for this part of what the deadline allows is worth some effort.
const NOTABLE: u64 = 2;

/// What a device's models were worth at some time, so that a search for room among the least worthy ones need not begin
/// where it would find too little.
#[derive(Debug, Default)]
pub(crate) struct Appraisal {
    /// When it is to be made again.
    until: Time,
    /// By magnitude of worth: pages of models worth no more than that.
    pages: Vec<u32>,
    /// Time lost by evicting the one that costs the least.
    least_loss: Time,
}

impl Appraisal {
    /// What its device has has changed.
    pub fn expire(&mut self) {
        self.until = Time::ZERO;
    }

    /// Pages of all models worth less than so much, and of some worth a little more.
    fn pages_below(&self, limit: u64) -> u32 {
        self.pages[magnitude(limit)]
    }
}

const MAGNITUDES: usize = magnitude(u64::MAX) + 1;

/// The power of two of a number, in four parts.
const fn magnitude(worth: u64) -> usize {
    match worth {
        0..4 => worth as usize,
        _ => {
            let power = worth.ilog2();
            (power as usize - 1) * 4 + (worth >> (power - 2) & 3) as usize
        }
    }
}

impl Scheduler {
    /// Loads further copies of models whose waiting requests would be done earlier with one. `grown`: a model whose queue
    /// has just grown; the others are looked at only when something else has changed.
    pub(crate) fn place_spreading(&mut self, grown: Option<ModelId>, out: &mut Vec<Command>) {
        if std::mem::take(&mut self.respread) && !self.spreading.is_empty() {
            let mut first = [ModelId(0); CONSIDERED];
            let mut count = 0;
            for (at, (_, model)) in first.iter_mut().zip(self.spreading.iter()) {
                *at = model;
                count += 1;
            }
            for &id in &first[..count] {
                self.spread(id, true, out);
            }
        }
        if let Some(id) = grown {
            self.spread(id, false, out);
        }
    }

    /// `changed`: something else than the model's queue has changed.
    fn spread(&mut self, id: ModelId, changed: bool, out: &mut Vec<Command>) {
        let Some(model) = self.models.get(id) else { return };
        let Some(urgency) = model.indexed.spreads else { return };
        let (until, known) = (model.indexed.spread_until, model.indexed.spread_copy);
        if self.now < model.indexed.spread_after {
            return;
        }
        let stay = self.stay(id);
        if !changed && self.now < until && stay <= known {
            return;
        }
        let scope = self.look_about();
        let worth = self.worth_of_copy(id);
        let has_room = scope.iter().any(|&device| self.may_give_way(device, id, worth));
        // While nobody else waits for a link, time that is gained may cost less time later.
        let gain = stay.saturating_sub(self.run_time(id));
        let pays = Time(stay.0.saturating_mul(NOTABLE)) >= self.span(id)
            && self.wanting.is_empty()
            && scope.iter().any(|&device| self.may_pay(device, gain));
        if !has_room && !pays {
            // All who could make room are worth more, and will be for a while.
            self.models[id].indexed.spread_after = self.now.saturating_add(stay);
            return;
        }
        let mut options = self.load_options(id, urgency, Reach::Idle, &scope);
        let copy = options.iter().map(|option| option.finish).min();
        if !copy.is_some_and(|copy| self.config.policy.placement.spreads(stay, copy)) {
            // Until the queue has grown by as much, or a copy's time has passed, the answer stays.
            let copy = copy.unwrap_or(stay.saturating_add(self.config.run_guess));
            let model = &mut self.models[id];
            model.indexed.spread_copy = copy;
            model.indexed.spread_until = self.now.saturating_add(copy);
            return;
        }
        let is_wanted = self.config.policy.placement.choose(id, &options).is_some();
        let others: Vec<LoadOption> = match pays {
            true => options.iter().filter(|option| option.idle).copied().collect(),
            false => Vec::new(),
        };
        options.retain(|option| self.may_give_way(option.device, id, worth));
        let gain = stay.saturating_sub(copy.unwrap_or(stay));
        let found = self
            .choose(id, options, Reach::IdleBelow(worth))
            .or_else(|| self.choose(id, others, Reach::IdleFor(gain)));
        if let Some((option, victims)) = found {
            self.make_room(option.device, victims, out);
            self.load(option.device, id, option.source, out);
        } else if is_wanted {
            self.models[id].indexed.spread_after = self.now.saturating_add(stay);
        }
    }

    /// What a model's next request had from its arrival to its deadline.
    fn span(&self, id: ModelId) -> Time {
        let front = self.front(id).expect("a model that spreads has work");
        self.models[id].queue.span(front.first)
    }

    /// Whether a device may have room for a model among what is worth less than so much.
    fn may_give_way(&mut self, device_id: DeviceId, id: ModelId, worth: u64) -> bool {
        let (device, model) = (&self.devices[device_id], &self.models[id]);
        let place = model.places.get(device_id);
        let shortage = device.shortage(model, place);
        if shortage == 0 {
            return !place.is_some_and(Place::is_usable);
        }
        if self.now >= device.appraisal.until {
            self.appraise(device_id);
        }
        shortage <= self.devices[device_id].appraisal.pages_below(worth)
    }

    /// Whether a run could start at once on a device, and perhaps gains more time than making room costs.
    fn may_pay(&mut self, device_id: DeviceId, gain: Time) -> bool {
        let device = &self.devices[device_id];
        if !device.has_idle_lane() {
            return false;
        }
        if self.now >= device.appraisal.until {
            self.appraise(device_id);
        }
        gain > self.devices[device_id].appraisal.least_loss
    }

    /// Remembers for a while what the models of a device are worth, those in use included, since they soon may not be.
    fn appraise(&mut self, device_id: DeviceId) {
        let mut pages = std::mem::take(&mut self.devices[device_id].appraisal.pages);
        pages.clear();
        pages.resize(MAGNITUDES, 0);
        let mut least_loss = Time::MAX;
        let device = &self.devices[device_id];
        for other in device.tenants.iter() {
            let model = &self.models[other];
            let place = model.places.get(device_id).expect("the place of a tenant");
            if place.pages > 0 && !model.is_pinned() {
                pages[magnitude(self.worth_on(device, model, place))] += place.pages;
                least_loss = least_loss.min(self.loss_on(device, model, place));
            }
        }
        let mut sum = 0;
        for pages in &mut pages {
            sum += *pages;
            *pages = sum;
        }
        let until = self.now.saturating_add(REMEMBERED);
        self.devices[device_id].appraisal = Appraisal { until, pages, least_loss };
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
            self.arrival_on(device_id, device, id).max(device.backlog(self.now))
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
            next_use: model.rhythm.next(self.now),
            copies: model.places.usable().count() as u32 + 1,
            run: model.run_times.predict(1),
            is_there: false,
            rush: self.rush(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_rise_with_worths_and_leave_none_out() {
        let mut last = 0;
        for worth in (0..4096).chain((12..64).flat_map(|power| {
            let step = 1u64 << (power - 2);
            (4..8).flat_map(move |part| [part * step, (part + 1).saturating_mul(step) - 1])
        })) {
            let at = magnitude(worth);
            assert!(at == last || at == last + 1, "{worth}: {at} after {last}");
            last = at;
        }
        assert_eq!(magnitude(u64::MAX) + 1, MAGNITUDES);
    }
}
