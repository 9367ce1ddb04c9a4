//! The indexes over models: after any change of a model, where it stands in each of them.

use crate::device::Candidacy;
use crate::model::{Front, Place};
use crate::policy::Urgency;
use crate::scheduler::Scheduler;
use std::collections::BTreeSet;
use sublet_units::{ModelId, Time};

impl Scheduler {
    /// Brings every index up to date with a model: called after each change of its queue, runs, loads or pages.
    pub(crate) fn refresh(&mut self, id: ModelId) {
        if !self.models.contains_key(&id) {
            return;
        }
        self.note_residency(id);
        let service = self.service_time(id);
        let now = self.now;
        let policy = &self.config.policy;
        let model = self.models.get_mut(&id).expect("the model that changed");
        if model.queue.is_empty() {
            model.failures = 0;
            model.avoid = None;
        }
        let front = model.front(now, self.config.patience, &*policy.order, service);
        let leader = front.map(|front| model.queue.leader(now, front.first, &*policy.batching));
        let starts = matches!(leader, Some(Ok(_))) && model.may_start_another();
        let run = match (leader, front) {
            (Some(Ok(ticket)), _) => model.run_times.predict(model.queue.batch_rows(ticket)),
            (_, Some(front)) => model.run_times.predict(model.queue.batch_rows(front.first)),
            _ => None,
        };
        let usable = model.places.values().filter(|place| place.is_usable()).count();
        let batch = run.unwrap_or(self.config.run_guess);
        let work = Time(batch.0.saturating_mul(model.queue.batches()) / usable.max(1) as u64);

        let mut timer = Soonest { now, at: None };
        let mut has_idle_lane = false;
        for (device_id, place) in &mut model.places {
            let device = self.devices.get_mut(device_id).expect("the device of a place");
            let mut startable = starts && place.is_usable();
            if startable && place.load.is_some() {
                let remaining = device.link_wait(now, Some(id));
                startable = policy.placement.overlaps(remaining, run);
                if let (false, Some(run)) = (startable, run) {
                    timer.add(now.saturating_add(remaining.saturating_sub(run)));
                }
            }
            let urgency = front.filter(|_| startable).map(|front| front.urgency);
            rekey(&mut device.startable, id, &mut place.startable, urgency);
            has_idle_lane |= device.idle_lane().is_some();
            if startable {
                self.open.insert(*device_id);
            }

            let pages = device.ledger.residency(id).map_or(0, |held| held.pages());
            let queued = front.filter(|_| place.whole).map(|front| front.urgency);
            let is_spared = (model.spec.pinned && !model.removed)
                || place.is_busy()
                || (place.fresh && queued.is_some());
            let may_go = pages > 0 && !is_spared;
            device.evictable.set(id, may_go.then_some(Candidacy { pages, queued }));

            let share = if place.is_usable() { work } else { Time::ZERO };
            device.work = Time(device.work.0.saturating_sub(place.work.0)).saturating_add(share);
            place.work = share;
        }
        let weightless = model.spec.segments.is_empty();
        let devices = &self.devices;
        model.places.retain(|device, place| {
            weightless || place.is_busy() || devices[device].ledger.residency(id).is_some()
        });

        let wants = front.filter(|_| usable == 0 && model.hopeless.is_none());
        let spreads = front.filter(|_| {
            usable > 0
                && usable < devices.len()
                && starts
                && !has_idle_lane
                && !model.spec.pinned
                && model.failures == 0
        });
        self.replan |=
            rekey(&mut self.wanting, id, &mut model.indexed.wanting, wants.map(|f| f.urgency));
        self.replan |= rekey(
            &mut self.spreading,
            id,
            &mut model.indexed.spreading,
            spreads.map(|f| f.urgency),
        );

        if let Some(Err(until)) = leader {
            timer.add(until);
        }
        if let Some(Front { pressing_at, starved_at, .. }) = front {
            timer.add(starved_at);
            if wants.is_some() {
                timer.add(pressing_at);
            }
        }
        if model.indexed.timer != timer.at {
            if let Some(time) = model.indexed.timer {
                self.timers.remove(&(time, id));
            }
            if let Some(time) = timer.at {
                self.timers.insert((time, id));
            }
            model.indexed.timer = timer.at;
        }
    }

    /// Notes on each place whether all segments have arrived.
    fn note_residency(&mut self, id: ModelId) {
        let model = self.models.get_mut(&id).expect("the model that changed");
        let segments = model.segments();
        for (device, place) in &mut model.places {
            place.whole = self.devices[device].ledger.resident(id) == segments;
        }
    }

    /// Predicted time to serve what waits for a model: one run, and a load where it is nowhere.
    fn service_time(&self, id: ModelId) -> Time {
        let model = &self.models[&id];
        let Some((first, _)) = model.queue.most_urgent() else { return Time::ZERO };
        let rows = model.queue.batch_rows(first);
        let run = model.run_times.predict(rows).unwrap_or(Time::ZERO);
        if model.places.values().any(Place::is_usable) {
            run
        } else {
            run.saturating_add(self.load_time(model.bytes))
        }
    }

    /// What is to be done next for a model; `None` when nothing waits for it.
    pub(crate) fn front(&self, id: ModelId) -> Option<Front> {
        let model = self.models.get(&id)?;
        let service = self.service_time(id);
        model.front(self.now, self.config.patience, &*self.config.policy.order, service)
    }
}

/// The earliest of the times that lie ahead.
struct Soonest {
    now: Time,
    at: Option<Time>,
}

impl Soonest {
    fn add(&mut self, time: Time) {
        if time > self.now && time < Time::MAX && self.at.is_none_or(|at| time < at) {
            self.at = Some(time);
        }
    }
}

/// Moves a model to another key of an index, or in or out of it. Returns whether it got a new key.
fn rekey(
    index: &mut BTreeSet<(Urgency, ModelId)>,
    model: ModelId,
    current: &mut Option<Urgency>,
    new: Option<Urgency>,
) -> bool {
    if *current == new {
        return false;
    }
    if let Some(old) = current.take() {
        index.remove(&(old, model));
    }
    if let Some(key) = new {
        index.insert((key, model));
    }
    *current = new;
    new.is_some()
}
