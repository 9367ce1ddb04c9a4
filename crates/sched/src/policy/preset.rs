//! Named combinations of parts.

use super::deepplan::FixedDevice;
use super::fifo_lru::{ArrivalOrder, Greedy, LeastRecentlyUsed, MostFree};
use super::gpulet::{DutyCycles, ElasticPartitions};
use super::hasty::HastyLanes;
use super::sublet::{Delayed, EarliestDeadline, EarliestFinish, LeastWorth};
use super::torpor::{LeastLoadedSwitch, OneByOne, ProtectHeavy, RequiredRequests};
use super::{BatchPolicy, Eviction, Order, Partition, Placement};
use std::fmt;
use std::str::FromStr;

/// A named combination of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Preset {
    /// As Computron (Zou et al., 2023) does: the model of the oldest request first, loaded whole before it runs, the
    /// least recently used model evicted whole.
    FifoLru,
    /// As Torpor (ATC 2025) does: functions that can still become compliant first, one request of each at a time, swap-in
    /// where the host link is least loaded or from a busy device that has the model, heavy only copies protected.
    Torpor,
    /// As DeepPlan's server (EuroSys 2023) does: each model on a fixed device, one request after the other, the least
    /// recently used model evicted whole.
    DeepPlanServer,
    /// As gpulet (ATC 2022) does: devices divided into partitions by rate and deadline, every 20 s anew.
    Gpulet,
    /// Earliest deadline among what can still be in time, late requests by their model's attainment, loads overlapped with
    /// runs, copied from peers and made ahead, batches within the slack, eviction by worth per byte.
    #[default]
    Sublet,
}

impl Preset {
    pub const ALL: [Preset; 5] =
        [Preset::FifoLru, Preset::Torpor, Preset::DeepPlanServer, Preset::Gpulet, Preset::Sublet];

    pub fn name(self) -> &'static str {
        match self {
            Preset::FifoLru => "fifo-lru",
            Preset::Torpor => "torpor",
            Preset::DeepPlanServer => "deepplan-server",
            Preset::Gpulet => "gpulet",
            Preset::Sublet => "sublet",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Preset::ALL.into_iter().find(|preset| preset.name() == text).ok_or_else(|| {
            let names = Preset::ALL.map(Preset::name).join(", ");
            format!("`{text}` is not a scheduling preset: use one of {names}")
        })
    }
}

pub struct Policy {
    pub order: Box<dyn Order>,
    pub placement: Box<dyn Placement>,
    pub eviction: Box<dyn Eviction>,
    pub batching: Box<dyn BatchPolicy>,
    /// `None`: devices are not divided.
    pub partition: Option<Box<dyn Partition>>,
}

impl Policy {
    pub fn new(preset: Preset) -> Self {
        let fifo_lru = Policy {
            order: Box::new(ArrivalOrder),
            placement: Box::new(MostFree),
            eviction: Box::new(LeastRecentlyUsed),
            batching: Box::new(Greedy),
            partition: None,
        };
        match preset {
            Preset::FifoLru => fifo_lru,
            Preset::Torpor => Policy {
                order: Box::new(RequiredRequests::default()),
                placement: Box::new(LeastLoadedSwitch),
                eviction: Box::new(ProtectHeavy),
                batching: Box::new(OneByOne),
                partition: None,
            },
            Preset::DeepPlanServer => Policy {
                placement: Box::new(FixedDevice),
                batching: Box::new(OneByOne),
                ..fifo_lru
            },
            Preset::Gpulet => Policy {
                batching: Box::new(DutyCycles),
                partition: Some(Box::new(ElasticPartitions::default())),
                ..fifo_lru
            },
            Preset::Sublet => Policy {
                order: Box::new(EarliestDeadline::default()),
                placement: Box::new(EarliestFinish),
                eviction: Box::new(LeastWorth),
                batching: Box::new(Delayed),
                partition: Some(Box::new(HastyLanes::default())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_go_by_their_names() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
        }
        assert!("deepplan".parse::<Preset>().unwrap_err().contains("deepplan-server"));
    }
}
