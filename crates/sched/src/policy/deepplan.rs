//! The parts of `deepplan-server` that it shares with nobody: each model has its device.

use super::{LoadOption, Placement};
use sublet_units::{ModelId, Time};

/// Model i lives on device i modulo the number of devices that could hold it, whose worker loads and runs one request after
/// the other, the copy overlapped with the run (DeepPlan §5, server).
pub struct FixedDevice;

impl Placement for FixedDevice {
    fn choose(&self, _: ModelId, options: &[LoadOption]) -> Option<usize> {
        options.iter().position(|option| option.idle)
    }

    fn is_fixed(&self) -> bool {
        true
    }

    fn home(&self, model: ModelId, devices: usize) -> usize {
        model.0 as usize % devices.max(1)
    }

    fn spreads(&self, _: Time, _: Time) -> bool {
        false
    }

    fn overlaps(&self, _: Time, _: Option<Time>) -> bool {
        true
    }
}
