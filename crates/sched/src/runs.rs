//! Runs: which lane computes what.

use crate::command::Command;
use crate::device::Running;
use crate::predict::UseRate;
use crate::scheduler::Scheduler;
use sublet_units::{DeviceId, LaneId, ModelId, RunId, Time};

impl Scheduler {
    /// Starts runs on idle lanes, on the device with the fewest busy ones first.
    pub(crate) fn fill_lanes(&mut self, out: &mut Vec<Command>) {
        while let Some((device, model)) = self.next_start() {
            self.start(device, model, out);
        }
    }

    pub(crate) fn finished(
        &mut self,
        device_id: DeviceId,
        run: RunId,
        ok: bool,
        out: &mut Vec<Command>,
    ) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(device_id) else { return };
        let is_it = |running: Running| running.run == run;
        let Some(at) = device.lanes.iter().position(|lane| lane.running.is_some_and(is_it)) else {
            return;
        };
        let lane = &mut device.lanes[at];
        let running = lane.running.take().expect("the run that was found");
        let (share, mut batch) = (lane.share, std::mem::take(&mut lane.batch));
        device.busy -= 1;
        self.note_open(device_id);

        let took = now.saturating_sub(running.started);
        self.end_requests(running.model, &batch, ok.then_some(took));
        batch.clear();
        self.devices[device_id].lanes[at].batch = batch;
        let model = &mut self.models[running.model];
        let place = model.places.get_mut(device_id).expect("the place of a run");
        model.running -= 1;
        place.running -= 1;
        model.last_used = now;
        if ok && !running.stalls {
            model.run_times.observe(running.rows, share, took);
        } else if ok {
            self.devices[device_id].observe_overlap(running, took);
        }
        if self.config.fair {
            self.tenants.used(model.spec.tenant, took, now, self.config.use_half_life);
        }
        self.note_freed(device_id);
        self.roll_back(device_id, running.model, out);
        self.refresh(running.model);
        // A lane stays idle: there may be work for it that waits elsewhere.
        self.respread |= self.devices[device_id].startable.is_empty();
        self.settle(running.model, out);
    }

    /// The next run to start. Devices where none can are closed.
    fn next_start(&mut self) -> Option<(DeviceId, ModelId)> {
        let mut best: Option<(u32, DeviceId, ModelId)> = None;
        let Scheduler { open, devices, models, now, .. } = self;
        let mut at = 0;
        while at < open.len() {
            let id = open[at];
            let device = &mut devices[id];
            let is_fresh =
                |model| models[model].places.get(id).is_some_and(|place: &_| place.fresh);
            match device.next_startable(*now, is_fresh) {
                Some(model) => {
                    if best.is_none_or(|(busy, first, _)| (device.busy, id) < (busy, first)) {
                        best = Some((device.busy, id, model));
                    }
                    at += 1;
                }
                None => {
                    device.open = false;
                    open.swap_remove(at);
                }
            }
        }
        best.map(|(_, device, model)| (device, model))
    }

    fn start(&mut self, device_id: DeviceId, model_id: ModelId, out: &mut Vec<Command>) {
        let now = self.now;
        let run = self.next_run();
        let policy = &self.config.policy;
        let model = &mut self.models[model_id];
        let device = &mut self.devices[device_id];
        let place = model.places.get_mut(device_id).expect("the place of a startable model");
        assert!(place.is_usable(), "{model_id} is not run on what a failed load left");
        let stalls = !place.whole;
        let cold = stalls || place.fresh && place.awaited;
        place.fresh = false;
        place.running += 1;
        model.running += 1;
        model.last_used = now;
        let arrival = if stalls { device.arrival(now, model_id) } else { Time::ZERO };

        let leader = model.leader(now, &*policy.batching).expect("a startable model has a batch");
        let at = device.idle_lane_for(model_id).expect("an idle lane");
        let lane = &mut device.lanes[at];
        let rows_max = model.queue.batching().map_or(1, |batching| batching.rows_max);
        let rows_max = match rows_max {
            0 | 1 => 1,
            _ => {
                let due = model.queue.due(leader);
                let left = due.saturating_sub(now).saturating_sub(arrival);
                let (times, share) = (&model.run_times, lane.share);
                policy.batching.rows_max(rows_max, left, &|rows| times.predict_on(rows, share))
            }
        };
        model.queue.take_batch(leader, rows_max, &mut lane.batch);
        let rows = lane.batch.iter().map(|entry| entry.rows).sum();
        let run_time = model.run_times.predict_on(rows, lane.share);
        let alone = run_time.unwrap_or(self.config.run_guess);
        let expected = arrival.max(alone);
        lane.running = Some(Running {
            run,
            model: model_id,
            rows,
            started: now,
            expected,
            arrival,
            alone,
            stalls,
        });
        device.busy += 1;
        let mut requests = Vec::with_capacity(lane.batch.len());
        for entry in &lane.batch {
            self.requests.remove(&entry.id).expect("a waiting request");
            requests.push(entry.id);
        }
        if self.config.fair {
            self.tenants.waits_no_more(model.spec.tenant, lane.batch.len() as u64);
        }
        let lane = LaneId(at as u32);
        out.push(Command::Run { device: device_id, lane, run, model: model_id, requests, cold });
        self.refresh(model_id);
    }
}

/// Who pays for compute, and how much each has had lately.
#[derive(Debug, Default)]
pub(crate) struct Tenants(Vec<Tenant>);

#[derive(Debug)]
struct Tenant {
    id: u32,
    weight: u64,
    /// Microseconds of runs.
    used: UseRate,
    /// Requests.
    waiting: u64,
}

impl Tenants {
    /// Of the weights that its models state, the largest counts.
    pub fn join(&mut self, id: u32, weight: u32) {
        let weight = u64::from(weight.max(1));
        match self.0.iter_mut().find(|tenant| tenant.id == id) {
            Some(tenant) => tenant.weight = tenant.weight.max(weight),
            None => self.0.push(Tenant { id, weight, used: UseRate::default(), waiting: 0 }),
        }
    }

    pub fn used(&mut self, id: u32, took: Time, now: Time, half_life: Time) {
        if let Some(tenant) = self.0.iter_mut().find(|tenant| tenant.id == id) {
            tenant.used.add(took.as_micros(), now, half_life);
        }
    }

    pub fn waits(&mut self, id: u32) {
        if let Some(tenant) = self.0.iter_mut().find(|tenant| tenant.id == id) {
            tenant.waiting += 1;
        }
    }

    pub fn waits_no_more(&mut self, id: u32, requests: u64) {
        if let Some(tenant) = self.0.iter_mut().find(|tenant| tenant.id == id) {
            tenant.waiting -= requests;
        }
    }

    /// Whether a tenant has had more than its weight's share of what all tenants have had that ran lately or wait.
    pub fn is_over_share(&self, id: u32, now: Time, half_life: Time) -> bool {
        let (mut used, mut weights, mut own) = (0, 0, (0, 1));
        for tenant in &self.0 {
            let theirs = tenant.used.at(now, half_life);
            if theirs > 0 || tenant.waiting > 0 {
                used += u128::from(theirs);
                weights += u128::from(tenant.weight);
            }
            if tenant.id == id {
                own = (u128::from(theirs), u128::from(tenant.weight));
            }
        }
        own.0 * weights > used * own.1
    }
}
