//! Devices: pages, loads, evictions and lanes.

use super::*;
use sublet_sched::DeviceSpec;
use sublet_units::Bytes;

#[derive(Debug)]
pub(super) struct Device {
    pub spec: DeviceSpec,
    lanes_max: u32,
    pages: Vec<Option<(ModelId, u32)>>,
    held: BTreeMap<ModelId, Held>,
    lanes: BTreeMap<LaneId, RunId>,
}

#[derive(Debug, Default)]
struct Held {
    arrived: u32,
    load: Option<(LoadId, Range<u32>, Source)>,
    /// Reserved by a load that failed while runs were in flight.
    failed: Option<Range<u32>>,
}

impl Device {
    pub fn new(spec: DeviceSpec) -> Self {
        Device {
            lanes_max: spec.lanes,
            pages: vec![None; spec.pages as usize],
            held: BTreeMap::new(),
            lanes: BTreeMap::new(),
            spec,
        }
    }

    pub fn occupy(&mut self, lane: LaneId, run: RunId) -> Checked {
        ensure(lane.0 < self.lanes_max, || format!("there is no {lane}"))?;
        let before = self.lanes.insert(lane, run);
        ensure(before.is_none(), || format!("{lane} is busy"))
    }

    pub fn vacate(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
    }

    /// Whether all of a model's segments have arrived or are on their way.
    pub fn will_have(&self, model: ModelId, segments: u32) -> bool {
        match self.held.get(&model) {
            Some(Held { failed: Some(_), .. }) => false,
            Some(Held { load: Some((_, range, _)), .. }) => range.end == segments,
            Some(held) => held.arrived == segments,
            None => segments == 0,
        }
    }

    pub fn has_all(&self, model: ModelId, segments: u32) -> bool {
        self.held.get(&model).map_or(0, |held| held.arrived) == segments
    }

    /// Whether anything of a model is here.
    pub fn has_any(&self, model: ModelId) -> bool {
        self.pages.iter().flatten().any(|(holder, _)| *holder == model)
            || self.held.get(&model).is_some_and(|h| h.arrived > 0 || h.load.is_some())
    }

    fn free(&mut self, model: ModelId, segments: &Range<u32>) {
        for page in &mut self.pages {
            if page.is_some_and(|(m, segment)| m == model && segments.contains(&segment)) {
                *page = None;
            }
        }
    }
}

/// Pages of a region that a segment begins: the page in which it starts may belong to the one before it.
fn pages_of(spec: &ModelSpec, segment: u32, page: Bytes) -> u32 {
    let start: Bytes = spec.segments[..segment as usize].iter().copied().sum();
    let end = start + spec.segments[segment as usize];
    (end.div_ceil(page) - start.div_ceil(page)) as u32
}

impl Checker {
    pub(super) fn load(
        &mut self,
        device_id: DeviceId,
        load: LoadId,
        model: ModelId,
        segments: &Range<u32>,
        pages: &[PageId],
        source: Source,
    ) -> Checked {
        let spec = &self.models.get(&model).ok_or(format!("{model} is loaded but unknown"))?.spec;
        ensure(segments.end == spec.segments.len() as u32, || format!("{load} is not whole"))?;
        let device =
            self.devices.get_mut(&device_id).ok_or(format!("{load} goes to {device_id}"))?;
        let held = device.held.entry(model).or_default();
        ensure(held.load.is_none() && held.failed.is_none(), || {
            format!("{load} is a second load")
        })?;
        ensure(segments.start == held.arrived, || format!("{load} leaves a gap"))?;
        ensure(!segments.is_empty(), || format!("{load} is empty"))?;
        held.load = Some((load, segments.clone(), source));
        let mut pages = pages.iter();
        for segment in segments.clone() {
            for _ in 0..pages_of(spec, segment, device.spec.page_bytes) {
                let page = pages.next().ok_or(format!("{load} has too few pages"))?;
                let place = device.pages.get_mut(page.0 as usize).ok_or("no such page")?;
                if let Some((holder, _)) = place {
                    return Err(format!("{load} takes {page} of {device_id}, but {holder} has it"));
                }
                *place = Some((model, segment));
            }
        }
        ensure(pages.next().is_none(), || format!("{load} has too many pages"))
    }

    /// A peer that a model is copied from is a declared one, and has all of it.
    pub(super) fn check_source(&self, to: DeviceId, model: ModelId, source: Source) -> Checked {
        let Source::Peer(from) = source else { return Ok(()) };
        let is_peer = |peers: &[sublet_sched::Peer]| peers.iter().any(|peer| peer.device == from);
        let declared = self.devices.get(&to).is_some_and(|device| is_peer(&device.spec.peers));
        ensure(declared, || format!("{to} copies from {from}, which is no peer"))?;
        let segments = self.models.get(&model).map_or(0, |m| m.spec.segments.len() as u32);
        let has_all = self.devices.get(&from).is_some_and(|d| d.has_all(model, segments));
        ensure(has_all, || format!("{to} copies {model} from {from}, which does not have it whole"))
    }

    pub(super) fn evict(
        &mut self,
        device_id: DeviceId,
        model_id: ModelId,
        segments: &Range<u32>,
        cause: EvictCause,
    ) -> Checked {
        let what = || format!("{segments:?} of {model_id} on {device_id}");
        let runs = self.running_on(device_id, model_id);
        ensure(runs == 0, || format!("evicts {}, which is in use", what()))?;
        let is_read = |device: &Device| {
            let load = device.held.get(&model_id).and_then(|held| held.load.as_ref());
            load.is_some_and(|&(.., source)| source == Source::Peer(device_id))
        };
        let read = self.devices.values().any(is_read);
        ensure(!read, || format!("evicts {}, which a peer copies", what()))?;
        let model = self.models.get(&model_id).ok_or(format!("evicts {}", what()))?;
        let device = self.devices.get_mut(&device_id).ok_or(format!("evicts {}", what()))?;
        let held = device.held.get_mut(&model_id).ok_or(format!("evicts {}", what()))?;
        ensure(held.load.is_none(), || format!("evicts {}, which is loading", what()))?;
        ensure(held.arrived == segments.end && !segments.is_empty(), || {
            format!("evicts {} although {} are resident", what(), held.arrived)
        })?;
        let allowed = match cause {
            EvictCause::Room => !model.spec.pinned || model.removed,
            EvictCause::Removed => model.removed,
            EvictCause::LoadFailed => true,
        };
        ensure(allowed, || format!("evicts {} because of {cause:?}", what()))?;
        held.arrived = segments.start;
        device.free(model_id, segments);
        Ok(())
    }

    pub(super) fn repartition(&mut self, id: DeviceId, shares: &[u32]) -> Checked {
        let device = self.devices.get_mut(&id).ok_or(format!("{id} is repartitioned"))?;
        ensure(device.spec.partitions, || format!("{id} has no partitions"))?;
        ensure(device.lanes.is_empty(), || format!("{id} is repartitioned while in use"))?;
        let total: u32 = shares.iter().sum();
        let is_whole = (1..=100).contains(&total) && shares.iter().all(|&share| share > 0);
        ensure(is_whole, || format!("{id} is divided into {shares:?}"))?;
        device.lanes_max = shares.len() as u32;
        Ok(())
    }

    /// Whether some device could hold the model if only pinned models stayed.
    pub(super) fn fits_empty(&self, id: ModelId) -> bool {
        let Some(model) = self.models.get(&id) else { return false };
        let is_pinned = |other: &ModelId| {
            *other != id && self.models.get(other).is_some_and(|m| m.spec.pinned && !m.removed)
        };
        self.devices.values().any(|device| {
            let pinned = device.pages.iter().flatten().filter(|(m, _)| is_pinned(m)).count() as u32;
            let page = device.spec.page_bytes;
            let segments = 0..model.spec.segments.len() as u32;
            let own: u32 = segments.map(|segment| pages_of(&model.spec, segment, page)).sum();
            own + pinned <= device.spec.pages
        })
    }

    pub(super) fn loaded(&mut self, device: DeviceId, load: LoadId, segment: u32) {
        let Some(device) = self.devices.get_mut(&device) else { return };
        for held in device.held.values_mut() {
            if let Some((id, range, _)) = &held.load
                && *id == load
            {
                held.arrived = segment + 1;
                if held.arrived == range.end {
                    held.load = None;
                }
                return;
            }
        }
    }

    pub(super) fn load_failed(&mut self, device_id: DeviceId, load: LoadId) {
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        let found =
            device.held.iter_mut().find(|(_, h)| h.load.as_ref().is_some_and(|l| l.0 == load));
        let Some((&model, held)) = found else { return };
        let (_, range, _) = held.load.take().expect("the load that was found");
        held.failed = Some(held.arrived..range.end);
        self.release_failed(device_id, model);
    }

    /// Pages of a failed load are free once no run waits for them.
    pub(super) fn release_failed(&mut self, device_id: DeviceId, model: ModelId) {
        if self.running_on(device_id, model) > 0 {
            return;
        }
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        if let Some(segments) = device.held.get_mut(&model).and_then(|held| held.failed.take()) {
            device.free(model, &segments);
        }
    }
}
