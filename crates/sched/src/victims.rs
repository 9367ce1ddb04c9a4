//! Which models make room for another.

use crate::device::Device;
use crate::model::{Candidacy, Model, Place};
use crate::policy::{Candidate, Urgency};
use crate::scheduler::Scheduler;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use sublet_units::{DeviceId, ModelId, Time};

/// What a load may take memory from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// Models that nobody waits for.
    Idle,
    /// Models that nobody waits for and that are worth less than this.
    IdleBelow(u64),
    /// Models that nobody waits for, as long as less than this is lost by all of them.
    IdleFor(Time),
    /// Also models with less urgent waiting requests.
    LessUrgent(Urgency),
}

/// So many models that wait for each link are a rush.
const CROWD: usize = 2;

/// Tail segments to evict.
pub(crate) type Victims = Vec<(ModelId, Range<u32>)>;

impl Scheduler {
    /// Who makes room for a model on a device: enough, or nobody.
    ///
    /// Models that nobody waits for go before the others, the least worth first. Where leading segments can stay, they
    /// do, those of the most worth first.
    pub(crate) fn victims(
        &self,
        device_id: DeviceId,
        id: ModelId,
        reach: Reach,
    ) -> Option<Victims> {
        let device = &self.devices[device_id];
        let model = &self.models[id];
        let shortage = device.shortage(model, model.places.get(device_id));
        if shortage == 0 {
            return Some(Victims::new());
        }
        let claim = device.claim.as_ref().filter(|claim| claim.model == id);
        let mut candidates: Vec<Reverse<(bool, u64, ModelId, u32)>> = Vec::new();
        for other in device.tenants.iter() {
            let model = &self.models[other];
            let place = model.places.get(device_id).expect("the place of a tenant");
            let Some(Candidacy { pages, queued }) = place.candidacy else { continue };
            let worth = self.worth_on(device, model, place);
            let is_in_reach = match (queued, reach) {
                (None, Reach::IdleBelow(limit)) => worth < limit,
                (None, _) => true,
                (Some(theirs), Reach::LessUrgent(ours)) => {
                    let held = claim.is_some_and(|claim| claim.held.contains(&other));
                    (held && ours < theirs) || self.yields(device_id, other, theirs, ours)
                }
                (Some(_), _) => false,
            };
            if other != id && is_in_reach {
                candidates.push(Reverse((queued.is_some(), worth, other, pages)));
            }
        }
        // A few are taken of many, which are not worth sorting.
        let mut candidates = BinaryHeap::from(candidates);
        let (mut taken, mut needed) = (0, Vec::new());
        while taken < shortage {
            let Reverse((.., victim, pages)) = candidates.pop()?;
            taken += pages;
            needed.push((victim, pages));
        }
        if let Reach::IdleFor(gain) = reach {
            let loss = |&(victim, _): &(ModelId, u32)| {
                let model = &self.models[victim];
                let place = model.places.get(device_id).expect("the place of a tenant");
                self.loss_on(device, model, place)
            };
            if needed.iter().map(loss).fold(Time::ZERO, Time::saturating_add) >= gain {
                return None;
            }
        }

        let mut surplus = taken - shortage;
        let mut victims = Victims::new();
        for &(victim, pages) in needed.iter().rev() {
            let held = device.ledger.residency(victim).expect("a candidate holds pages");
            let mut from = 0;
            if pages <= surplus {
                surplus -= pages;
                continue;
            }
            // In a rush few large loads are better than many small ones.
            if self.config.policy.eviction.partial() && !self.rush() {
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
    pub(crate) fn yields(
        &self,
        device: DeviceId,
        id: ModelId,
        theirs: Urgency,
        ours: Urgency,
    ) -> bool {
        let place = self.models[id].places.get(device);
        let is_spared = place.is_some_and(|place| self.now < place.spared_until);
        ours < theirs && (ours.class == 0 || !is_spared)
    }

    /// What it is worth to keep what a device has of a model.
    pub(crate) fn worth_on(&self, device: &Device, model: &Model, place: &Place) -> u64 {
        self.config.policy.eviction.worth(&self.candidate(device, model, place))
    }

    /// Time that will be lost by evicting what a device has of a model.
    pub(crate) fn loss_on(&self, device: &Device, model: &Model, place: &Place) -> Time {
        self.config.policy.eviction.loss(&self.candidate(device, model, place))
    }

    /// Whether more models wait for links than these can bring soon.
    pub(crate) fn rush(&self) -> bool {
        self.wanting.len() > CROWD * self.devices.len()
    }

    fn candidate(&self, device: &Device, model: &Model, place: &Place) -> Candidate {
        let bytes = model.bytes_before(place.resident);
        // What is left of a copy is one more beside the whole ones.
        let whole = model.places.usable().count() as u32;
        Candidate {
            resident: bytes,
            reload: device.host.rate.time(bytes),
            last_used: model.last_used,
            next_use: model.rhythm.next(self.now),
            copies: whole + u32::from(!place.is_usable()),
            run: model.run_times.predict(1),
            is_there: true,
            rush: self.rush(),
        }
    }
}
