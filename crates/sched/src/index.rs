//! The indexes over models: after any change of a model, where it stands in each of them.

use crate::ahead::AHEAD;
use crate::model::{Candidacy, Front, Model};
use crate::policy::{Order, Urgency, Work};
use crate::queue::Entry;
use crate::scheduler::Scheduler;
use sublet_units::{ModelId, Time};

/// How soon a run that waits for the end of its load is looked at again, at the soonest.
const AGAIN: Time = Time::from_micros(20);

/// What is to be done for a model, and what is known about when.
#[derive(Clone, Copy, Default)]
struct Outlook {
    urgency: Option<Urgency>,
    /// The arrival of the oldest request, behind the class of the most urgent; `None` for a tenant beyond its share.
    age: Option<Urgency>,
    /// When the next batch may start, if that is not now.
    starts_at: Option<Time>,
    /// Whether a run could start, were there weights and a lane.
    starts: bool,
    /// How long that run will take, if it is known.
    run: Option<Time>,
}

impl Scheduler {
    /// Brings every index up to date with a model: called after each change of its queue, runs, loads or pages.
    pub(crate) fn refresh(&mut self, id: ModelId) {
        if !self.models.contains(id) {
            return;
        }
        let outlook = self.outlook(id);
        let mut timer = Soonest { now: self.now, at: None };
        self.index_places(id, outlook, &mut timer);
        self.index_demand(id, outlook);
        let model = &self.models[id];
        if let Some(at) = outlook.starts_at {
            timer.add(at);
        }
        if let Some(front) = model.front {
            timer.add(front.starved_at);
            timer.add(front.late_at);
            if model.indexed.wanting.is_some() {
                timer.add(front.pressing_at);
            }
        }
        match self.ahead_at(id) {
            Some(at) if at > self.now => timer.add(at),
            Some(_) => self.ahead.remember(id),
            None => {}
        }
        self.timers.set(id, timer.at);
    }

    fn outlook(&mut self, id: ModelId) -> Outlook {
        let Scheduler { models, devices, config, now, fastest, tenants, .. } = self;
        let model = &mut models[id];
        if model.queue.is_empty() {
            model.front = None;
            return Outlook::default();
        }
        let (mut wait, mut missing) = (Time::MAX, true);
        for (device, place) in model.places.usable() {
            let arrival = if place.whole { Time::ZERO } else { devices[*device].arrival(*now, id) };
            (wait, missing) = (wait.min(arrival), false);
        }
        if missing {
            let fastest = fastest.map(|device| &devices[device].host.rate);
            wait = fastest.map_or(Time::ZERO, |rate| rate.time(model.bytes));
        }
        let order = &mut *config.policy.order;
        let gives_up = order.gives_up_on(id);
        let mut shortest = Time::ZERO;
        if gives_up {
            let run = model.run_times.predict(1).unwrap_or(Time::ZERO);
            let least = wait.max(run);
            // Predictions change, but not by so much again and again.
            model.queue.set_late_aside(now.saturating_add(least), Time(least.0 / 8));
            // What is on its way comes closer as time goes by, so that it alone makes nothing late.
            shortest = if missing { wait.max(run) } else { run };
        } else {
            model.queue.take_late_back();
        }
        let (first, late) = model.queue.most_urgent().expect("a queue that is not empty");
        let first = *first;
        let run = model.run_times.predict(model.queue.batch_rows(&first));
        let known = run.unwrap_or(Time::ZERO);
        let service = if missing { known.saturating_add(wait) } else { known };
        let (oldest, starved_at) = longest_waiting(model, order, config.patience, *now);
        let over_share =
            config.fair && tenants.is_over_share(model.spec.tenant, *now, config.use_half_life);
        let front = if starved_at <= *now {
            let urgency = Urgency { class: 0, when: oldest.arrived };
            let (pressing_at, late_at) = (starved_at, Time::MAX);
            Front { first: oldest.ticket, urgency, pressing_at, starved_at, late_at, late }
        } else {
            let work = Work {
                model: id,
                first: first.ticket.urgency,
                due: first.due,
                late,
                run: known,
                service,
                over_share,
            };
            let urgency = order.model(&work);
            let pressing_at = order.presses_at(&work, urgency).min(starved_at);
            let late_at = match gives_up && !late {
                // Exactly at its deadline an answer is still in time.
                true => first.due.saturating_sub(shortest).saturating_add(Time(1)),
                false => Time::MAX,
            };
            Front { first: first.ticket, urgency, pressing_at, starved_at, late_at, late }
        };
        let oldest = model.queue.oldest().expect("a queue that is not empty");
        let age = Urgency { class: first.ticket.urgency.class, when: oldest.arrived };
        model.front = Some(front);
        let leader = model.queue.leader(*now, front.first, known, &*config.policy.batching);
        Outlook {
            urgency: Some(front.urgency),
            age: Some(age).filter(|_| !over_share),
            starts_at: leader.err(),
            starts: leader.is_ok() && model.may_start_another(config.runs_max),
            run,
        }
    }

    /// On each device that has to do with the model: whether a run could start there, whether its pages may be taken,
    /// and how much work it adds. Forgets devices that have nothing of it any more.
    fn index_places(&mut self, id: ModelId, outlook: Outlook, timer: &mut Soonest) {
        let Outlook { urgency, age, starts, run, .. } = outlook;
        let Scheduler { models, devices, open, config, now, wanting, freed, replan, .. } = self;
        let model = &mut models[id];
        let work = match urgency {
            None => Time::ZERO,
            Some(_) => {
                let batch = run.unwrap_or(config.run_guess);
                let usable = model.places.usable().count().max(1) as u64;
                let work = batch.0.saturating_mul(model.queue.batches());
                Time(if usable == 1 { work } else { work / usable })
            }
        };
        let (pinned, weightless) = (model.is_pinned(), model.spec.segments.is_empty());
        let defers = config.policy.order.defers();
        let mut has_empty = false;
        for (device_id, place) in model.places.iter_mut() {
            let device = &mut devices[*device_id];
            let usable = place.is_usable();
            let mut startable = starts && usable;
            if startable && place.load.is_some() {
                let remaining = device.arrival(*now, id);
                let run = run.map(|run| device.hides(run));
                startable = config.policy.placement.overlaps(remaining, run);
                let ever = config.policy.placement.overlaps(Time::ZERO, run);
                if let (false, true, Some(run)) = (startable, ever, run) {
                    // Not again and again while a segment is a little late.
                    let wait = remaining.saturating_sub(run).max(AGAIN.max(Time(run.0 / 32)));
                    timer.add(now.saturating_add(wait));
                }
            }
            let key = urgency.filter(|_| startable);
            // An idle device that it will not use after all may be of use to others.
            let leaves = place.startable.is_some() && key.is_none() && device.has_idle_lane();
            if leaves && !wanting.is_empty() && !device.freed {
                (device.freed, *replan) = (true, true);
                freed.push(*device_id);
            }
            device.startable.rekey(id, &mut place.startable, key);
            if defers {
                device.by_age.rekey(id, &mut place.by_age, age.filter(|_| startable));
            }
            if startable && !device.open && device.has_idle_lane() {
                device.open = true;
                open.push(*device_id);
            }

            let queued = urgency.filter(|_| place.whole);
            let is_spared = pinned || place.is_busy() || (place.fresh && queued.is_some());
            let may_go = place.pages > 0 && !is_spared;
            let candidacy = may_go.then_some(Candidacy { pages: place.pages, queued });
            if place.candidacy != candidacy {
                device.recount(place.candidacy, candidacy);
                place.candidacy = candidacy;
            }
            let pinned_pages = if pinned { place.pages } else { 0 };
            device.pinned_pages = device.pinned_pages - place.pinned_pages + pinned_pages;
            place.pinned_pages = pinned_pages;

            let share = if usable { work } else { Time::ZERO };
            if place.work != share {
                device.work = device.work.saturating_sub(place.work).saturating_add(share);
                place.work = share;
            }
            has_empty |= place.pages == 0 && !place.is_busy();
        }
        if has_empty && !weightless {
            model.places.retain(|(device, place)| {
                let stays = place.pages > 0 || place.is_busy();
                if !stays {
                    devices[*device].tenants.remove(id);
                }
                stays
            });
        }
    }

    /// Whether the model needs a device, or might profit from one more.
    fn index_demand(&mut self, id: ModelId, outlook: Outlook) {
        let Scheduler { models, devices, wanting, spreading, .. } = self;
        let model = &mut models[id];
        let (mut copies, mut idle) = (0, false);
        // Nobody asks where a model is that nobody waits for.
        if outlook.urgency.is_some() || model.is_pinned() {
            for (device, _) in model.places.usable() {
                copies += 1;
                let device = &devices[*device];
                idle |= device.has_idle_lane() && device.idle_lane_for(id).is_some();
            }
        }
        let wants = copies == 0 && model.hopeless.is_none();
        // A pinned model comes ahead of requests, but after those of others.
        let may_come_ahead = model.is_pinned() && model.failures == 0;
        let urgency = outlook.urgency.or(may_come_ahead.then_some(AHEAD)).filter(|_| wants);
        let moved = wanting.rekey(id, &mut model.indexed.wanting, urgency);
        if moved {
            model.indexed.tried = None;
            self.replan = true;
        }
        let spreads = outlook.starts
            && !idle
            && (1..devices.len()).contains(&copies)
            && !model.spec.pinned
            && model.failures == 0;
        let urgency = outlook.urgency.filter(|_| spreads);
        spreading.rekey(id, &mut model.indexed.spreads, urgency);
        // A claim of an urgency that the model has no more would keep others from the device for nothing.
        if model.indexed.claim.is_some() && (moved || model.indexed.wanting.is_none()) {
            self.drop_claim(id);
        }
    }

    /// What is to be done next for a model; `None` when nothing waits.
    pub(crate) fn front(&self, id: ModelId) -> Option<Front> {
        self.models.get(id)?.front
    }
}

/// The request that runs out of patience first, and when that is; those that may be put off are.
fn longest_waiting(
    model: &mut Model,
    order: &mut dyn Order,
    most: Time,
    now: Time,
) -> (Entry, Time) {
    loop {
        let (first, put_off) = model.queue.oldest_of_each();
        let ends = |entry: &Entry, patience: Time| entry.arrived.saturating_add(patience);
        let put_off = put_off.map(|&entry| (entry, ends(&entry, most)));
        let Some(&first) = first else { return put_off.expect("a queue that is not empty") };
        let span = first.due.saturating_sub(first.arrived);
        let starved_at = ends(&first, order.patience(span).min(most));
        if starved_at <= now && starved_at < ends(&first, most) && order.puts_off() {
            model.queue.put_off_oldest();
            continue;
        }
        return match put_off {
            Some(other) if other.1 < starved_at => other,
            _ => (first, starved_at),
        };
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
