//! Copies: each device carries out its loads in order, one segment at a time.

use super::trouble::chance;
use super::{Happening, Machine};
use crate::cost::ONE;
use crate::fabric::FlowId;
use std::collections::VecDeque;
use std::ops::Range;
use sublet_sched::{Event, Source};
use sublet_units::{DeviceId, LoadId, ModelId, Time};

/// The loads of one device that come the same way, in order.
#[derive(Debug)]
pub(super) struct Channel {
    flow: FlowId,
    queue: VecDeque<Loading>,
}

#[derive(Debug)]
struct Loading {
    load: LoadId,
    model: ModelId,
    /// Segments that have not arrived, the first of them on its way.
    segments: Range<u32>,
    source: Source,
    /// Nothing of it has been copied yet.
    fresh: bool,
    /// The segment whose copy will fail, and whether for ever.
    fails: Option<(u32, bool)>,
}

impl Channel {
    pub fn new(flow: FlowId) -> Self {
        Channel { flow, queue: VecDeque::new() }
    }

    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// What would be reported of the loads in flight, were there no end to the device.
    pub fn reports(&self, device: DeviceId) -> impl Iterator<Item = Event> {
        self.queue.iter().flat_map(move |loading| {
            let load = loading.load;
            loading.segments.clone().map(move |segment| Event::Loaded { device, load, segment })
        })
    }
}

impl Machine {
    pub(super) fn load(
        &mut self,
        now: Time,
        id: DeviceId,
        load: LoadId,
        model: ModelId,
        segments: Range<u32>,
        source: Source,
    ) {
        let fails = chance(&mut self.rng, self.trouble.load_fails).then(|| {
            let at = self.rng.u32(segments.clone());
            (at, chance(&mut self.rng, self.trouble.fatal))
        });
        let Some(device) = self.devices[id.0 as usize].as_mut() else { return };
        let channel = match source {
            Source::Host => &mut device.host,
            Source::Peer(_) => &mut device.peers,
        };
        channel.queue.push_back(Loading { load, model, segments, source, fresh: true, fails });
        if channel.queue.len() == 1 {
            let flow = channel.flow;
            self.copy_next(now, flow);
            self.reschedule();
        }
    }

    /// Starts the copy of a channel's next segment, or lets the channel rest.
    fn copy_next(&mut self, now: Time, flow: FlowId) {
        let owner = &self.flows[flow as usize];
        let (id, source_is_peer) = (owner.device as usize, owner.source_is_peer);
        let device = self.devices[id].as_mut().expect("a device that copies");
        let channel = if source_is_peer { &mut device.peers } else { &mut device.host };
        let Some(next) = channel.queue.front_mut() else {
            self.fabric.stop(now, flow);
            return;
        };
        let model = &self.models[next.model.0 as usize];
        let bytes = model.segments[next.segments.start as usize].0;
        let source = next.source;
        let mut overhead = device.cost.copy_overhead;
        if std::mem::take(&mut next.fresh) {
            overhead += device.cost.load_setup;
        }
        let rate = match source {
            Source::Host => {
                let rate = model.copy_rate.unwrap_or(device.cost.host_rate);
                (u128::from(rate) * u128::from(device.speed) / u128::from(ONE)) as u64
            }
            Source::Peer(from) => {
                let peer_rate = device.cost.peer_rate;
                let links: Vec<u32> = [Some(from), Some(DeviceId(id as u32))]
                    .into_iter()
                    .flatten()
                    .filter_map(|at| self.devices[at.0 as usize].as_ref()?.peer_link)
                    .collect();
                // A way is chosen anew for each segment: the flow rests for no time in between.
                self.fabric.stop(now, flow);
                self.fabric.reroute(flow, &links);
                peer_rate
            }
        };
        let mut limit = limited(bytes, rate, overhead);
        if chance(&mut self.rng, self.trouble.slow_copies) {
            limit /= 10;
        }
        self.fabric.start(now, flow, bytes, limit);
    }

    pub(super) fn segment_done(&mut self, now: Time, flow: FlowId) -> Happening {
        let owner = &mut self.flows[flow as usize];
        owner.version = owner.version.wrapping_add(1);
        let (id, source_is_peer) = (DeviceId(owner.device), owner.source_is_peer);
        let device = self.devices[id.0 as usize].as_mut().expect("a device that copies");
        let channel = if source_is_peer { &mut device.peers } else { &mut device.host };
        let loading = channel.queue.front_mut().expect("a load on its way");
        let (load, model, segment) = (loading.load, loading.model, loading.segments.start);
        let failed = loading.fails.filter(|&(at, _)| at == segment);
        loading.segments.start += 1;
        let is_over = failed.is_some() || loading.segments.is_empty();
        if is_over {
            channel.queue.pop_front();
        }
        if failed.is_none() {
            device.arrived[model.0 as usize] = segment + 1;
        }
        self.copy_next(now, flow);
        self.reschedule();
        let event = match failed {
            Some((_, fatal)) => {
                self.weights_lost(now, id, model);
                Event::LoadFailed { device: id, load, fatal }
            }
            None => {
                self.weights_came(now, id, model);
                Event::Loaded { device: id, load, segment }
            }
        };
        Happening { event, ended: None }
    }

    /// Loads that come from a device that is gone have failed.
    pub(super) fn cut_off(&mut self, now: Time, lost: DeviceId, failed: &mut Vec<Event>) {
        for at in 0..self.devices.len() {
            let id = DeviceId(at as u32);
            let Some(device) = self.devices[at].as_mut() else { continue };
            let comes_from = |loading: &Loading| loading.source == Source::Peer(lost);
            if !device.peers.queue.iter().any(comes_from) {
                continue;
            }
            let was_first = device.peers.queue.front().is_some_and(comes_from);
            let (cut, kept): (Vec<_>, Vec<_>) =
                device.peers.queue.drain(..).partition(|loading| comes_from(loading));
            device.peers.queue.extend(kept);
            if was_first {
                let flow = device.peers.flow;
                self.fabric.stop(now, flow);
                let owner = &mut self.flows[flow as usize];
                owner.version = owner.version.wrapping_add(1);
                self.copy_next(now, flow);
            }
            for loading in cut {
                self.weights_lost(now, id, loading.model);
                let load = loading.load;
                failed.push(Event::LoadFailed { device: id, load, fatal: false });
            }
        }
    }

    /// Whether a load of a model is on its way to a device.
    pub(super) fn is_loading(&self, id: DeviceId, model: ModelId) -> bool {
        let Some(device) = self.devices[id.0 as usize].as_ref() else { return false };
        let mut loads = device.host.queue.iter().chain(&device.peers.queue);
        loads.any(|loading| loading.model == model)
    }
}

/// Bytes per second of a copy that takes `overhead` on top of its bytes.
fn limited(bytes: u64, rate: u64, overhead: Time) -> u64 {
    let rate = rate.max(1);
    // Words of 64 bits are divided many times faster, and suffice up to 18 GB.
    if let Some(work) = bytes.checked_mul(1_000_000_000) {
        let nanos = (work / rate).saturating_add(overhead.0);
        return work.checked_div(nanos).map_or(rate, |limit| limit.clamp(1, rate));
    }
    let work = u128::from(bytes) * 1_000_000_000;
    let nanos = work / u128::from(rate) + u128::from(overhead.0);
    work.checked_div(nanos).map_or(rate, |limit| limit.clamp(1, rate.into()) as u64)
}
