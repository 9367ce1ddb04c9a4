//! Where a suite runs its models.

use crate::{Direct, Failure, Loaded};
use std::sync::Mutex;
use sublet_device::DeviceError;
use sublet_graph::Literal;
use sublet_units::LaneId;

/// Runs a model once.
pub trait Target: Sync {
    /// `inputs` and the result are in the model's own order.
    fn run(&self, loaded: &Loaded, inputs: &[Literal]) -> Result<Vec<Literal>, Failure>;
}

/// The CPU kernels, without a device.
pub struct Solo;

impl Target for Solo {
    fn run(&self, loaded: &Loaded, inputs: &[Literal]) -> Result<Vec<Literal>, Failure> {
        loaded.run(inputs)
    }
}

/// A device behind its trait: each model is attached, loaded, run and detached. Several threads share its lanes.
pub struct OnDevice {
    pub direct: Direct,
    lanes: Mutex<Vec<LaneId>>,
    freed: std::sync::Condvar,
}

impl OnDevice {
    pub fn new(direct: Direct) -> OnDevice {
        let lanes = (0..direct.device().info().lanes).map(LaneId).collect();
        OnDevice { direct, lanes: Mutex::new(lanes), freed: std::sync::Condvar::new() }
    }

    fn take_lane(&self) -> LaneId {
        let mut lanes = self.lanes.lock().expect("unpoisoned");
        loop {
            match lanes.pop() {
                Some(lane) => return lane,
                None => lanes = self.freed.wait(lanes).expect("unpoisoned"),
            }
        }
    }

    fn give_lane(&self, lane: LaneId) {
        self.lanes.lock().expect("unpoisoned").push(lane);
        self.freed.notify_one();
    }
}

impl Target for OnDevice {
    fn run(&self, loaded: &Loaded, inputs: &[Literal]) -> Result<Vec<Literal>, Failure> {
        let given: Vec<_> = (0..loaded.graph().inputs.len()).map(|at| inputs.get(at)).collect();
        let plan = loaded.plan_for(&given)?;
        let attached = self.direct.attach(loaded.image().clone())?;
        let lane = self.take_lane();
        let ran = || -> Result<_, DeviceError> {
            let loading = self.direct.begin_load(attached)?;
            let running = self.direct.begin_run(attached, lane, plan, inputs.to_vec())?;
            // Both are waited for: what is in flight must end before the model may go.
            let (output, loaded) = (running.wait(), loading.wait());
            loaded?;
            output
        };
        let output = ran();
        self.give_lane(lane);
        self.direct.detach(attached);
        let mut parts = output?.parts;
        Ok(parts.swap_remove(0))
    }
}
