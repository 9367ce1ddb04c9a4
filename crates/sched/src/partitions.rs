//! Dividing devices between models, for policies that do.

use crate::ahead::AHEAD;
use crate::command::Command;
use crate::device::Lane;
use crate::event::Batching;
use crate::policy::{Demand, LanePlan};
use crate::scheduler::Scheduler;
use crate::victims::Reach;
use sublet_units::{DeviceId, ModelId, Time};

/// When arrivals are counted and devices divided next.
#[derive(Debug, Default)]
pub(crate) struct Divider {
    sampled_at: Time,
    plan_at: Option<Time>,
    /// Devices that wait for their runs to end.
    pending: Vec<DeviceId>,
    /// Models that the division wants on a device where they are not.
    missing: Vec<(ModelId, DeviceId)>,
}

impl Scheduler {
    /// Counts arrivals and divides devices anew when it is time, with the first event after it.
    pub(crate) fn divide(&mut self) {
        let Some(partition) = &mut self.config.policy.partition else { return };
        let now = self.now;
        let span = now.saturating_sub(self.divider.sampled_at);
        if span >= partition.sample_every() {
            self.divider.sampled_at = now;
            for (id, model) in self.models.iter_mut() {
                partition.sample(id, std::mem::take(&mut model.arrived), span);
            }
        }
        // Rates are known well enough for a first division after ten samples.
        let first = partition.sample_every() * 10;
        if now < self.divider.plan_at.unwrap_or(first) {
            return;
        }
        self.divider.plan_at = Some(now.saturating_add(partition.plan_every()));
        let devices: Vec<DeviceId> =
            self.devices.iter().filter(|(_, d)| d.spec.partitions).map(|(id, _)| id).collect();
        if devices.is_empty() {
            return;
        }
        let slo = self.config.slo;
        let alone = Batching { rows_max: 1, delay_max: Time::ZERO };
        let demands: Vec<Demand> = self
            .models
            .iter()
            .filter(|(_, model)| !model.removed)
            .map(|(model, known)| Demand {
                model,
                slo: known.spec.slo.unwrap_or(slo),
                batching: known.spec.batching.unwrap_or(alone),
                profile: &known.spec.profile,
                ended: known.ended,
                late: known.late,
            })
            .collect();
        let partition = self.config.policy.partition.as_mut().expect("just looked at");
        let plan = partition.plan(&demands, devices.len());
        for (_, model) in self.models.iter_mut() {
            (model.ended, model.late) = (0, 0);
        }
        if let Some(plan) = plan {
            self.adopt(&devices, plan);
        }
    }

    fn adopt(&mut self, devices: &[DeviceId], plan: Vec<Vec<LanePlan>>) {
        for (_, model) in self.models.iter_mut() {
            model.assigned = None;
            // What an earlier division made of its batches ends with it.
            if let Some(own) = model.spec.batching
                && model.queue.batching() != Some(own)
            {
                model.queue.rebatch(own);
            }
        }
        self.divider.missing.clear();
        for (&device_id, lanes) in devices.iter().zip(plan) {
            for served in lanes.iter().flat_map(|lane| &lane.models) {
                let model = &mut self.models[served.model];
                let assigned = model.assigned.get_or_insert_default();
                if !assigned.contains(&device_id) {
                    assigned.push(device_id);
                }
                if model.spec.batching.is_some() {
                    model.queue.rebatch(served.batching);
                }
                self.divider.missing.push((served.model, device_id));
            }
            self.devices[device_id].redivided = Some(lanes);
            if !self.divider.pending.contains(&device_id) {
                self.divider.pending.push(device_id);
            }
        }
        for id in self.models.ids().to_vec() {
            self.unassign(id);
            self.models[id].indexed.tried = None;
            self.refresh(id);
        }
        self.replan = true;
    }

    /// Lets a model go anywhere when none of the devices that it is assigned to can have it.
    pub(crate) fn unassign(&mut self, id: ModelId) {
        let model = &self.models[id];
        let Some(assigned) = &model.assigned else { return };
        let could = |&device_id: &DeviceId| {
            self.devices.get(device_id).is_some_and(|device| {
                model.may_go_to(device_id) && device.could_hold(device_id, model)
            })
        };
        if !assigned.iter().any(could) {
            self.models[id].assigned = None;
        }
    }

    /// Divides devices whose runs have ended, and brings models to where the division wants them.
    pub(crate) fn redivide(&mut self, out: &mut Vec<Command>) {
        if self.divider.pending.is_empty() && self.divider.missing.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.divider.pending) {
            let Some(device) = self.devices.get_mut(id) else { continue };
            if device.busy > 0 {
                self.divider.pending.push(id);
                continue;
            }
            let Some(plan) = device.redivided.take() else { continue };
            let shares: Vec<u32> = plan.iter().map(|lane| lane.share).collect();
            let changed = !device.lanes.iter().map(|lane| lane.share).eq(shares.iter().copied());
            let lane = |lane: &LanePlan| {
                Lane::new(lane.share, lane.models.iter().map(|served| served.model).collect())
            };
            device.lanes = plan.iter().map(lane).collect();
            if changed {
                out.push(Command::Repartition { device: id, shares });
            }
            self.note_open(id);
            self.respread = true;
        }
        self.bring_missing(out);
    }

    /// Loads what a division wants on a device where it is not, while nobody waits for a load, in the room of models that
    /// nobody waits for and that are worth less.
    fn bring_missing(&mut self, out: &mut Vec<Command>) {
        if !self.wanting.is_empty() || !self.replan {
            return;
        }
        for (id, device_id) in std::mem::take(&mut self.divider.missing) {
            let (Some(model), Some(device)) = (self.models.get(id), self.devices.get(device_id))
            else {
                continue;
            };
            let is_there = model.places.get(device_id).is_some_and(|place| place.is_usable());
            if is_there || model.removed || model.spec.segments.is_empty() || model.failures > 0 {
                continue;
            }
            if !device.host.loads.is_empty() || !self.may_load(device_id, device, id, AHEAD) {
                self.divider.missing.push((id, device_id));
                continue;
            }
            let worth = self.worth_of_copy(id);
            let reach = Reach::IdleBelow(worth);
            if let Some((option, victims)) = self.place(id, AHEAD, reach, &[device_id]) {
                self.make_room(device_id, victims, out);
                self.load(device_id, id, option.source, out);
            }
        }
    }
}
