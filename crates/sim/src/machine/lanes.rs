//! Lanes: runs in progress, how fast they go, and when they end.

use super::trouble::chance;
use super::{Due, Ended, Happening, Machine};
use crate::cost::{DeviceCost, ModelCost, ONE};
use sublet_sched::Event;
use sublet_units::{DeviceId, LaneId, ModelId, RequestId, RunId, Time};

#[derive(Debug, Default)]
pub(super) struct Lane {
    running: Option<Running>,
    version: u32,
    /// Percent of the device's compute, on a partitioned device.
    share: u32,
}

#[derive(Debug)]
struct Running {
    run: RunId,
    model: ModelId,
    requests: Vec<RequestId>,
    started: Time,
    cold: bool,
    ok: bool,
    /// Time that the whole run needs alone, with all its weights.
    total: u64,
    /// Of that, how much is done, and how much the weights that have arrived allow.
    done: u64,
    allowed: u64,
    /// Up to when `done` counts.
    since: Time,
    /// Time taken per time done, in 1/65536.
    slowness: u64,
    /// When it ends, as the agenda has it.
    due: Option<Time>,
}

impl Lane {
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The run that a lost device was at, with its end.
    pub fn abandon(self, device: DeviceId, lane: LaneId) -> Option<(RunId, Ended)> {
        self.running.map(|running| {
            let run = running.run;
            (run, Ended { ok: false, ..running.end(device, lane) })
        })
    }
}

impl Running {
    fn advance(&mut self, now: Time) {
        let elapsed = now.saturating_sub(self.since).0;
        let gained = if self.slowness == ONE {
            elapsed
        } else {
            (u128::from(elapsed) * u128::from(ONE) / u128::from(self.slowness)) as u64
        };
        self.done = self.allowed.min(self.done.saturating_add(gained));
        self.since = now;
    }

    /// Whether it computes, rather than waiting for weights.
    fn computes(&self) -> bool {
        self.done < self.allowed || self.allowed == self.total
    }

    /// When it ends, if it goes on like this; `None` while weights are missing.
    fn end_time(&self) -> Option<Time> {
        let left = u128::from(self.total - self.done) * u128::from(self.slowness);
        let left = Time(u64::try_from(left.div_ceil(u128::from(ONE))).unwrap_or(u64::MAX));
        (self.allowed == self.total).then(|| self.since.saturating_add(left))
    }

    fn end(self, device: DeviceId, lane: LaneId) -> Ended {
        let Running { model, requests, started, cold, ok, .. } = self;
        Ended { device, lane, model, requests, started, cold, ok }
    }
}

impl Machine {
    pub(super) fn run(
        &mut self,
        now: Time,
        id: DeviceId,
        lane: LaneId,
        run: RunId,
        model: ModelId,
        requests: Vec<RequestId>,
        cold: bool,
    ) {
        let ok = !chance(&mut self.rng, self.trouble.run_fails);
        let is_loading = self.is_loading(id, model);
        let Some(device) = self.devices[id.0 as usize].as_mut() else { return };
        let cost = &self.models[model.0 as usize];
        let rows = requests.len() as u32;
        let mut alone = match device.is_partitioned {
            true => cost.time_on(rows, device.lanes[lane.0 as usize].share),
            false => cost.runs.time(rows),
        };
        if let Some(&factor) = device.cost.spread.get(device.spread_at) {
            alone = Time((u128::from(alone.0) * u128::from(factor) / u128::from(ONE)) as u64);
            device.spread_at = (device.spread_at + 1) % device.cost.spread.len();
        }
        let mut total = alone.saturating_add(device.cost.launch).0;
        if device.cost.jitter > 0 {
            let spread = u64::from(device.cost.jitter.min(ONE as u32));
            let factor = ONE - spread + self.rng.u64(0..=2 * spread);
            total = (u128::from(total) * u128::from(factor) / u128::from(ONE)) as u64;
        }
        let arrived = device.arrived[model.0 as usize];
        let allowed = if self.hasty { total } else { allowed(total, cost, &device.cost, arrived) };
        let running = Running {
            run,
            model,
            requests,
            started: now,
            cold,
            // What a failed load left behind cannot be run.
            ok: ok && (allowed == total || is_loading),
            total,
            done: 0,
            allowed: if is_loading { allowed } else { total },
            since: now,
            slowness: ONE,
            due: None,
        };
        let slot = &mut device.lanes[lane.0 as usize];
        assert!(slot.running.is_none(), "{id} is still at another run on {lane}");
        slot.running = Some(running);
        self.repace(now, id);
    }

    /// Divides a device that nothing runs on. Versions go on, so that nothing on the agenda is taken for a new lane's.
    pub(super) fn repartition(&mut self, id: DeviceId, shares: &[u32]) {
        let Some(device) = self.devices[id.0 as usize].as_mut() else { return };
        let version = device.lanes.iter().map(Lane::version).max().unwrap_or(0).wrapping_add(1);
        assert!(
            device.lanes.iter().all(|lane| lane.running.is_none()),
            "{id} is repartitioned while something runs there"
        );
        device.is_partitioned = true;
        device.lanes = shares.iter().map(|&share| Lane { running: None, version, share }).collect();
    }

    pub(super) fn run_done(&mut self, now: Time, device_id: u32, lane: u32) -> Happening {
        let device = self.devices[device_id as usize].as_mut().expect("a device that computes");
        let slot = &mut device.lanes[lane as usize];
        slot.version = slot.version.wrapping_add(1);
        let running = slot.running.take().expect("the run that is due");
        let (device, run, ok) = (DeviceId(device_id), running.run, running.ok);
        self.repace(now, device);
        let ended = running.end(device, LaneId(lane));
        Happening { event: Event::Finished { device, run, ok }, ended: Some(ended) }
    }

    /// More segments of a model have arrived on a device.
    pub(super) fn weights_came(&mut self, now: Time, id: DeviceId, model: ModelId) {
        let device = self.devices[id.0 as usize].as_mut().expect("a device that copies");
        let arrived = device.arrived[model.0 as usize];
        let cost = &self.models[model.0 as usize];
        let mut fed = false;
        for running in device.lanes.iter_mut().filter_map(|lane| lane.running.as_mut()) {
            if running.model == model && running.allowed < running.total {
                running.advance(now);
                running.allowed = allowed(running.total, cost, &device.cost, arrived);
                fed = true;
            }
        }
        if fed {
            self.repace(now, id);
        }
    }

    /// The rest of a model's weights will not arrive: runs that wait for them fail.
    pub(super) fn weights_lost(&mut self, now: Time, id: DeviceId, model: ModelId) {
        let device = self.devices[id.0 as usize].as_mut().expect("a device that copies");
        for running in device.lanes.iter_mut().filter_map(|lane| lane.running.as_mut()) {
            if running.model == model && running.allowed < running.total {
                running.advance(now);
                running.total = running.done;
                running.allowed = running.done;
                running.ok = false;
            }
        }
        self.repace(now, id);
    }

    /// Works out anew how fast the runs of a device go, and when they end.
    fn repace(&mut self, now: Time, id: DeviceId) {
        let device = self.devices[id.0 as usize].as_mut().expect("a device that computes");
        let mut computing = 0;
        for running in device.lanes.iter_mut().filter_map(|lane| lane.running.as_mut()) {
            running.advance(now);
            computing += u64::from(running.computes());
        }
        let others = u64::saturating_sub(computing, 1);
        let interference = match device.is_partitioned {
            true => device.cost.partition_interference,
            false => device.cost.interference,
        };
        let slowness = ONE + u64::from(interference) * others;
        for (at, lane) in device.lanes.iter_mut().enumerate() {
            let Some(running) = lane.running.as_mut() else { continue };
            running.slowness = slowness;
            let end = running.end_time();
            if running.due == end {
                continue;
            }
            running.due = end;
            lane.version = lane.version.wrapping_add(1);
            if let Some(end) = end {
                let due = Due::Run { device: id.0, lane: at as u32, version: lane.version };
                self.agenda.push(end, due);
            }
        }
    }
}

/// How much of a run may be done with so many segments.
fn allowed(total: u64, model: &ModelCost, device: &DeviceCost, arrived: u32) -> u64 {
    if arrived as usize >= model.segments.len() {
        total
    } else if device.overlaps {
        let share = model.progress[arrived as usize];
        (u128::from(total) * u128::from(share) / u128::from(ONE)) as u64
    } else {
        0
    }
}
