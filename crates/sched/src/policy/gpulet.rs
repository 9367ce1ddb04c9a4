//! The parts of `gpulet`: rates smoothed, devices divided every 20 s, batches gathered over duty cycles.

use super::elastic::{self, Load};
use super::{BatchPolicy, Demand, LanePlan, Partition};
use crate::event::Batching;
use sublet_units::{ModelId, Time};

/// Weight of a new sample, in 1/10,000 (gpulet's artefact: α = 0.0488).
const ALPHA: u64 = 488;

const SAMPLE: Time = Time::from_millis(500);

/// Elastic partitioning over rates that are counted every 500 ms and planned for every 20 s (gpulet §5).
#[derive(Default)]
pub struct ElasticPartitions {
    /// Requests per 1000 s, by model.
    rates: Vec<Option<u64>>,
}

impl Partition for ElasticPartitions {
    fn sample_every(&self) -> Time {
        SAMPLE
    }

    fn sample(&mut self, model: ModelId, requests: u64, span: Time) {
        let index = model.0 as usize;
        if index >= self.rates.len() {
            self.rates.resize(index + 1, None);
        }
        let now = u128::from(requests) * 1_000_000_000_000 / u128::from(span.0.max(1));
        let now = u64::try_from(now).unwrap_or(u64::MAX / 10_000);
        let Some(mut rate) = self.rates[index] else {
            self.rates[index] = Some(now);
            return;
        };
        // A sample that spans several periods counts as often.
        for _ in 0..(span.0 / SAMPLE.0).clamp(1, 100) {
            rate = (rate * (10_000 - ALPHA) + now * ALPHA) / 10_000;
        }
        self.rates[index] = Some(rate);
    }

    fn plan_every(&self) -> Time {
        Time::from_secs(20)
    }

    fn plan(&mut self, demands: &[Demand], devices: usize) -> Option<Vec<Vec<LanePlan>>> {
        let loads: Vec<Load> = demands
            .iter()
            .filter(|demand| !demand.profile.is_empty())
            .map(|demand| Load { demand, rate: self.rate(demand.model) })
            .filter(|load| load.rate > 0)
            .collect();
        if loads.is_empty() {
            return None;
        }
        Some(elastic::divide(loads, devices))
    }
}

impl ElasticPartitions {
    /// Requests per 1000 s.
    pub(super) fn rate(&self, model: ModelId) -> u64 {
        self.rates.get(model.0 as usize).copied().flatten().unwrap_or(0)
    }
}

/// A batch gathers until it is full or its duty cycle is over.
pub struct DutyCycles;

impl BatchPolicy for DutyCycles {
    fn start_at(&self, batching: &Batching, rows: u64, arrived: Time, _: Time) -> Time {
        if rows >= u64::from(batching.rows_max) {
            arrived
        } else {
            arrived.saturating_add(batching.delay_max)
        }
    }
}
