//! The indexes over models: after any change of a model, where it stands in each of them.

use crate::device::Candidacy;
use crate::model::{Front, Place};
use crate::policy::Urgency;
use crate::queue::Ticket;
use crate::scheduler::Scheduler;
use std::collections::BTreeSet;
use sublet_units::{ModelId, Time};

/// What is to be done for a model, and what is known about when.
#[derive(Clone, Copy)]
struct Outlook {
    /// `None` when nothing waits.
    front: Option<Front>,
    /// Who leads the next batch, or when it may start.
    leader: Option<Result<Ticket, Time>>,
    /// Whether a run could start, were there weights and a lane.
    starts: bool,
    /// How long that run will take, if such runs were seen before.
    run: Option<Time>,
}

impl Scheduler {
    /// Brings every index up to date with a model: called after each change of its queue, runs, loads or pages.
    pub(crate) fn refresh(&mut self, id: ModelId) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let segments = model.segments();
        for (device, place) in &mut model.places {
            place.whole = self.devices[device].ledger.resident(id) == segments;
        }
        if model.queue.is_empty() {
            model.failures = 0;
            model.avoid = None;
        }
        let outlook = self.outlook(id);
        let mut timer = Soonest { now: self.now, at: None };
        self.index_places(id, outlook, &mut timer);
        self.index_demand(id, outlook);

        let indexed = &mut self.models.get_mut(&id).expect("the model that changed").indexed;
        if let Some(Err(until)) = outlook.leader {
            timer.add(until);
        }
        if let Some(front) = outlook.front {
            timer.add(front.starved_at);
            if indexed.wanting.is_some() {
                timer.add(front.pressing_at);
            }
        }
        if indexed.timer != timer.at {
            if let Some(time) = indexed.timer {
                self.timers.remove(&(time, id));
            }
            if let Some(time) = timer.at {
                self.timers.insert((time, id));
            }
            indexed.timer = timer.at;
        }
    }

    /// What is to be done next for a model; `None` when nothing waits for it.
    pub(crate) fn front(&self, id: ModelId) -> Option<Front> {
        let model = self.models.get(&id)?;
        let service = self.service_time(id);
        model.front(self.now, self.config.patience, &*self.config.policy.order, service)
    }

    fn outlook(&self, id: ModelId) -> Outlook {
        let Some(front) = self.front(id) else {
            return Outlook { front: None, leader: None, starts: false, run: None };
        };
        let model = &self.models[&id];
        let leader = model.queue.leader(self.now, front.first, &*self.config.policy.batching);
        let rows = model.queue.batch_rows(leader.unwrap_or(front.first));
        Outlook {
            front: Some(front),
            leader: Some(leader),
            starts: leader.is_ok() && model.may_start_another(),
            run: model.run_times.predict(rows),
        }
    }

    /// On each device that has to do with the model: whether a run could start there, whether its pages may be taken,
    /// and how much work it adds. Forgets devices that have nothing of it any more.
    fn index_places(&mut self, id: ModelId, outlook: Outlook, timer: &mut Soonest) {
        let Outlook { front, starts, run, .. } = outlook;
        let Scheduler { models, devices, open, config, now, .. } = self;
        let model = models.get_mut(&id).expect("the model that changed");
        let usable = model.places.values().filter(|place| place.is_usable()).count();
        let batch = run.unwrap_or(config.run_guess);
        let work = Time(batch.0.saturating_mul(model.queue.batches()) / usable.max(1) as u64);

        for (device_id, place) in &mut model.places {
            let device = devices.get_mut(device_id).expect("the device of a place");
            let mut startable = starts && place.is_usable();
            if startable && place.load.is_some() {
                let remaining = device.link_wait(*now, Some(id));
                startable = config.policy.placement.overlaps(remaining, run);
                if let (false, Some(run)) = (startable, run) {
                    timer.add(now.saturating_add(remaining.saturating_sub(run)));
                }
            }
            let urgency = front.filter(|_| startable).map(|front| front.urgency);
            rekey(&mut device.startable, id, &mut place.startable, urgency);
            if startable {
                open.insert(*device_id);
            }

            let pages = device.ledger.residency(id).map_or(0, |held| held.pages());
            let queued = front.filter(|_| place.whole).map(|front| front.urgency);
            let is_spared = (model.spec.pinned && !model.removed)
                || place.is_busy()
                || (place.fresh && queued.is_some());
            let may_go = pages > 0 && !is_spared;
            device.evictable.set(id, may_go.then_some(Candidacy { pages, queued }));

            let share = if place.is_usable() { work } else { Time::ZERO };
            device.work = device.work.saturating_sub(place.work).saturating_add(share);
            place.work = share;
        }
        let weightless = model.spec.segments.is_empty();
        model.places.retain(|device, place| {
            weightless || place.is_busy() || devices[device].ledger.residency(id).is_some()
        });
    }

    /// Whether the model needs a device, or might profit from one more.
    fn index_demand(&mut self, id: ModelId, outlook: Outlook) {
        let Scheduler { models, devices, wanting, spreading, .. } = self;
        let model = models.get_mut(&id).expect("the model that changed");
        let usable = || model.places.iter().filter(|(_, place)| place.is_usable());
        let has_idle_lane = |(device, _)| devices[device].idle_lane().is_some();

        let copies = usable().count();
        let wants = copies == 0 && model.hopeless.is_none();
        let spreads = (1..devices.len()).contains(&copies)
            && outlook.starts
            && !model.spec.pinned
            && model.failures == 0
            && !usable().any(has_idle_lane);
        let urgency = outlook.front.map(|front| front.urgency);
        let (wants, spreads) = (urgency.filter(|_| wants), urgency.filter(|_| spreads));
        self.replan |= rekey(wanting, id, &mut model.indexed.wanting, wants);
        rekey(spreading, id, &mut model.indexed.spreading, spreads);
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
