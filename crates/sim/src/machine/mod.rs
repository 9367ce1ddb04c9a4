//! The simulated machine: links that copy segments and lanes that compute, after a cost model.
//!
//! It takes the scheduler's commands and says what happens when. State is indexed by number, since ids are dense: a
//! simulation of many requests spends its time in the scheduler.

mod copies;
mod lanes;
mod trouble;

pub use trouble::Trouble;

use crate::agenda::Agenda;
use crate::cost::{DeviceCost, ModelCost};
use crate::fabric::{Fabric, FlowId, LinkId};
use copies::Channel;
use fastrand::Rng;
use lanes::Lane;
use std::collections::BTreeMap;
use sublet_sched::{Command, Event};
use sublet_units::{DeviceId, LaneId, ModelId, RequestId, Time};

/// Something that a machine did.
#[derive(Clone, Debug)]
pub struct Happening {
    pub event: Event,
    /// With [`Event::Finished`]: whose run it was.
    pub ended: Option<Ended>,
}

/// The requests of a run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub device: DeviceId,
    pub lane: LaneId,
    pub model: ModelId,
    pub requests: Vec<RequestId>,
    pub started: Time,
    /// Some weights were missing when the run could have started.
    pub cold: bool,
    pub ok: bool,
}

/// What the loss of a device leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// What it had still to report, which may yet arrive, too late, or not.
    pub late: Vec<Event>,
    pub ended: Vec<Ended>,
    /// Loads of other devices that came from it.
    pub failed: Vec<Event>,
}

#[derive(Debug)]
pub struct Machine {
    agenda: Agenda<Due>,
    fabric: Fabric,
    /// Flows changed in one call; kept to be used again.
    changed: Vec<(FlowId, Time)>,
    /// By flow: who copies over it, and which of its due times counts.
    flows: Vec<FlowOwner>,
    /// The shared link that stands for a switch or a device's links to its peers.
    switches: BTreeMap<u32, LinkId>,
    devices: Vec<Option<Device>>,
    models: Vec<ModelCost>,
    rng: Rng,
    trouble: Trouble,
    /// Breaks the promise that runs wait for their weights: for a canary.
    hasty: bool,
}

#[derive(Debug)]
struct Device {
    cost: DeviceCost,
    /// Leading segments that have arrived, by model.
    arrived: Vec<u32>,
    lanes: Vec<Lane>,
    is_partitioned: bool,
    host: Channel,
    peers: Channel,
    /// Copies of this device to and from others, if it has links to them.
    peer_link: Option<LinkId>,
    /// The host link's rate now, in 1/65536 of what the cost model says.
    speed: u64,
    /// Which of the cost model's measured factors the next run takes.
    spread_at: usize,
}

#[derive(Debug)]
struct FlowOwner {
    device: u32,
    source_is_peer: bool,
    version: u32,
}

/// An entry of the agenda. Entries are never taken back: one whose version has passed counts for nothing.
#[derive(Clone, Copy, Debug)]
enum Due {
    Segment { flow: FlowId, version: u32 },
    Run { device: u32, lane: u32, version: u32 },
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        Machine {
            agenda: Agenda::default(),
            fabric: Fabric::default(),
            changed: Vec::new(),
            flows: Vec::new(),
            switches: BTreeMap::new(),
            devices: Vec::new(),
            models: Vec::new(),
            rng: Rng::with_seed(seed),
            trouble: Trouble::default(),
            hasty: false,
        }
    }

    /// What goes wrong from now on.
    pub fn set_trouble(&mut self, trouble: Trouble) {
        self.trouble = trouble;
    }

    /// Lets runs end without waiting for their weights, which a checker must notice.
    pub fn make_hasty(&mut self) {
        self.hasty = true;
    }

    /// Adds the device with the next number.
    pub fn add_device(&mut self, cost: DeviceCost) -> DeviceId {
        let id = self.devices.len() as u32;
        let Machine { fabric, switches, .. } = self;
        let host_links: Vec<LinkId> = cost
            .switch
            .map(|switch| {
                *switches.entry(switch.id).or_insert_with(|| fabric.add_link(switch.rate))
            })
            .into_iter()
            .collect();
        let peer_link = (cost.peer_rate > 0).then(|| fabric.add_link(cost.peer_rate));
        let host = Channel::new(fabric.add_flow(cost.server, host_links));
        let peers = Channel::new(fabric.add_flow(cost.server, Vec::new()));
        for source_is_peer in [false, true] {
            self.flows.push(FlowOwner { device: id, source_is_peer, version: 0 });
        }
        let spread_at = match cost.spread.len() {
            0 => 0,
            count => self.rng.usize(..count),
        };
        self.devices.push(Some(Device {
            arrived: vec![0; self.models.len()],
            lanes: (0..cost.lanes).map(|_| Lane::default()).collect(),
            is_partitioned: false,
            host,
            peers,
            peer_link,
            speed: crate::cost::ONE,
            spread_at,
            cost,
        }));
        DeviceId(id)
    }

    /// Adds the model with the next number.
    pub fn add_model(&mut self, cost: ModelCost) -> ModelId {
        for device in self.devices.iter_mut().flatten() {
            device.arrived.push(0);
        }
        self.models.push(cost);
        ModelId(self.models.len() as u32 - 1)
    }

    /// The device is gone.
    pub fn lose_device(&mut self, now: Time, id: DeviceId) -> Loss {
        let mut loss = Loss::default();
        let Some(device) = self.devices.get_mut(id.0 as usize).and_then(Option::take) else {
            return loss;
        };
        for channel in [&device.host, &device.peers] {
            self.fabric.stop(now, channel.flow());
            loss.late.extend(channel.reports(id));
        }
        for (at, lane) in device.lanes.into_iter().enumerate() {
            if let Some((run, end)) = lane.abandon(id, LaneId(at as u32)) {
                loss.late.push(Event::Finished { device: id, run, ok: true });
                loss.ended.push(end);
            }
        }
        self.cut_off(now, id, &mut loss.failed);
        self.reschedule();
        loss
    }

    /// Changes the rate of a device's host link to a share (in 1/65536) of what its cost model says, from the next
    /// segment on.
    pub fn slow_link(&mut self, id: DeviceId, speed: u64) {
        if let Some(device) = self.devices.get_mut(id.0 as usize).and_then(Option::as_mut) {
            device.speed = speed.max(1);
        }
    }

    /// When something happens next.
    pub fn next_time(&mut self) -> Option<Time> {
        while let Some((time, &due)) = self.agenda.peek() {
            if self.counts(due) {
                return Some(time);
            }
            self.agenda.pop();
        }
        None
    }

    /// What happens next, at the time that [`Machine::next_time`] gave.
    pub fn pop(&mut self) -> Option<(Time, Happening)> {
        loop {
            let (now, due) = self.agenda.pop()?;
            if !self.counts(due) {
                continue;
            }
            let happening = match due {
                Due::Segment { flow, .. } => self.segment_done(now, flow),
                Due::Run { device, lane, .. } => self.run_done(now, device, lane),
            };
            return Some((now, happening));
        }
    }

    /// Does what the scheduler commands.
    pub fn carry_out(&mut self, now: Time, command: Command) {
        match command {
            Command::Load { device, load, model, segments, source, .. } => {
                self.load(now, device, load, model, segments, source);
            }
            Command::Run { device, lane, run, model, requests, cold } => {
                self.run(now, device, lane, run, model, requests, cold);
            }
            Command::Evict { device, model, segments, .. } => {
                if let Some(device) = self.devices[device.0 as usize].as_mut() {
                    device.arrived[model.0 as usize] = segments.start;
                }
            }
            Command::Repartition { device, shares } => self.repartition(device, &shares),
            Command::Reject { .. } | Command::ModelGone { .. } => {}
        }
    }

    pub fn devices(&self) -> impl Iterator<Item = DeviceId> {
        let there = self.devices.iter().enumerate().filter(|(_, device)| device.is_some());
        there.map(|(id, _)| DeviceId(id as u32))
    }

    fn counts(&self, due: Due) -> bool {
        match due {
            Due::Segment { flow, version } => self.flows[flow as usize].version == version,
            // The lane may be gone: its device has been divided anew.
            Due::Run { device, lane, version } => self.devices[device as usize]
                .as_ref()
                .and_then(|device| device.lanes.get(lane as usize))
                .is_some_and(|lane| lane.version() == version),
        }
    }

    /// Puts flows whose end has changed on the agenda again.
    fn reschedule(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        self.fabric.take_changed(&mut changed);
        for (flow, time) in changed.drain(..) {
            let owner = &mut self.flows[flow as usize];
            owner.version = owner.version.wrapping_add(1);
            if self.fabric.is_active(flow) {
                self.agenda.push(time, Due::Segment { flow, version: owner.version });
            }
        }
        self.changed = changed;
    }
}
