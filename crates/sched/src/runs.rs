//! Runs: which lane computes what.

use crate::command::Command;
use crate::device::Running;
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
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        let is_it = |lane: &&mut Option<Running>| lane.as_ref().is_some_and(|r| r.run == run);
        let Some(lane) = device.lanes.iter_mut().find(is_it) else { return };
        let running = lane.take().expect("the run that was found");
        self.open.insert(device_id);

        let model = self.models.get_mut(&running.model).expect("a running model");
        let place = model.places.get_mut(&device_id).expect("the place of a run");
        model.running -= 1;
        place.running -= 1;
        model.last_used = self.now;
        if ok && !running.stalls {
            model.run_times.observe(running.rows, self.now.saturating_sub(running.started));
        }
        self.replan |= place.running == 0;
        self.roll_back(device_id, running.model, out);
        self.refresh(running.model);
        // A lane stays idle: there may be work for it that waits elsewhere.
        self.respread |= self.devices[&device_id].startable.is_empty();
        self.settle(running.model, out);
    }

    /// The next run to start. Devices where none can are closed.
    fn next_start(&mut self) -> Option<(DeviceId, ModelId)> {
        let mut best: Option<(usize, DeviceId, ModelId)> = None;
        let Scheduler { open, devices, models, .. } = self;
        open.retain(|&id| {
            let device = &devices[&id];
            let is_fresh = |model| models[&model].places[&id].fresh;
            let next = device.idle_lane().and_then(|_| device.next_startable(is_fresh));
            if let Some(model) = next {
                let busy = device.busy_lanes();
                if best.is_none_or(|(least, ..)| busy < least) {
                    best = Some((busy, id, model));
                }
            }
            next.is_some()
        });
        best.map(|(_, device, model)| (device, model))
    }

    fn start(&mut self, device_id: DeviceId, model_id: ModelId, out: &mut Vec<Command>) {
        let now = self.now;
        let run = self.next_run();
        let model = self.models.get_mut(&model_id).expect("a startable model");
        let device = self.devices.get_mut(&device_id).expect("an open device");
        let residency = device.ledger.residency(model_id);
        let arrived = residency.map_or(0, |held| held.resident());
        let promised = residency.map_or(0, |held| held.loading().end);
        assert_eq!(promised, model.segments(), "{model_id} has its weights or will have them");

        let front = model
            .front(now, self.config.patience, &*self.config.policy.order, Time::ZERO)
            .expect("a startable model has waiting requests");
        let leader = model
            .queue
            .leader(now, front.first, &*self.config.policy.batching)
            .expect("a startable model has a batch");
        let entries = model.queue.take_batch(leader);
        let rows = entries.iter().map(|entry| entry.rows).sum();
        let stalls = arrived < promised;
        let place = model.places.get_mut(&device_id).expect("the place of a startable model");
        assert!(place.is_usable(), "{model_id} is not run on what a failed load left");
        let cold = std::mem::take(&mut place.fresh) || stalls;
        place.running += 1;
        model.running += 1;
        model.last_used = now;

        let lane = device.idle_lane().expect("an idle lane");
        let arrival = if stalls { device.link_wait(now, Some(model_id)) } else { Time::ZERO };
        let run_time = model.run_times.predict(rows).unwrap_or(self.config.run_guess);
        let expected = arrival.saturating_add(run_time);
        device.lanes[lane] =
            Some(Running { run, model: model_id, rows, started: now, expected, stalls });
        let requests = entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
        for &request in &requests {
            self.unlist(request);
        }
        let lane = LaneId(lane as u32);
        out.push(Command::Run { device: device_id, lane, run, model: model_id, requests, cold });
        self.refresh(model_id);
    }
}
