//! Claims: how a pressing model gets room although others are always busy.

use crate::device::Claim;
use crate::policy::Urgency;
use crate::scheduler::Scheduler;
use sublet_units::{DeviceId, ModelId, Time};

/// A model that finds no room.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub model: ModelId,
    pub urgency: Urgency,
}

impl Scheduler {
    /// Keeps models that are busy, and less urgent, from starting again on one device, so that their pages become free
    /// for this one. A claim that it has already stays as long as its urgency is the same.
    pub(crate) fn lay_claim(&mut self, wish: Wish, scope: &[DeviceId]) {
        let id = wish.model;
        let before = self.models[id].indexed.claim;
        if let Some(device) = before {
            let found = &self.devices[device];
            let claim = found.claim.as_ref().expect("the claim of a model");
            if claim.urgency == wish.urgency && self.may_load(device, found, id, wish.urgency) {
                return;
            }
            self.drop_claim(id);
        }
        let all;
        let scope = match before {
            Some(_) => {
                all = self.devices.ids().to_vec();
                &all
            }
            None => scope,
        };
        let mut devices: Vec<(Time, DeviceId)> = Vec::new();
        for &device_id in scope {
            let device = &self.devices[device_id];
            if self.may_load(device_id, device, id, wish.urgency)
                && device.could_hold(device_id, &self.models[id])
            {
                let arrival = self.arrival_on(device_id, device, id);
                devices.push((arrival.max(device.backlog(self.now)), device_id));
            }
        }
        devices.sort_unstable();
        for (_, device_id) in devices {
            if let Some(claim) = self.claim_on(device_id, wish) {
                if let Some(other) = self.devices[device_id].claim.replace(claim) {
                    let indexed = &mut self.models[other.model].indexed;
                    (indexed.claim, indexed.tried) = (None, None);
                }
                self.models[id].indexed.claim = Some(device_id);
                return;
            }
        }
    }

    /// Lets the models go on that a model had kept from starting.
    pub(crate) fn drop_claim(&mut self, id: ModelId) {
        let Some(device) = self.models[id].indexed.claim.take() else { return };
        if let Some(found) = self.devices.get_mut(device) {
            found.claim = None;
            self.note_open(device);
            self.note_freed(device);
        }
    }

    /// The fewest models to hold so that, once they are idle, a model finds room on a device.
    fn claim_on(&self, device_id: DeviceId, wish: Wish) -> Option<Claim> {
        let (device, wished) = (&self.devices[device_id], &self.models[wish.model]);
        let mut candidates = Vec::new();
        for other in device.tenants.iter() {
            let model = &self.models[other];
            let place = model.places.get(device_id).expect("the place of a tenant");
            let yields = match model.front {
                Some(front) => self.yields(device_id, other, front.urgency, wish.urgency),
                None => true,
            };
            if other != wish.model && place.pages > 0 && yields && !model.is_pinned() {
                let waits = !model.queue.is_empty();
                let worth = self.worth_on(device, model, place);
                candidates.push((place.is_busy(), waits, worth, other, place.pages));
            }
        }
        candidates.sort_unstable();
        let shortage = device.shortage(wished, wished.places.get(device_id));
        let mut room = 0;
        let last = candidates.iter().position(|&(.., pages)| {
            room += pages;
            room >= shortage
        })?;
        let held = candidates[..=last].iter().map(|&(.., other, _)| other).collect();
        Some(Claim { model: wish.model, urgency: wish.urgency, held })
    }
}
